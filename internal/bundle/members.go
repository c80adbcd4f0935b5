package bundle

import "github.com/dirstorage/dirstorage/internal/layout"

// EachMember calls f with each member of the index and its number, revisions before transactions.
func (r *Reader) EachMember(f func(n layout.Name, number int64)) error {
	number := int64(0)
	for e, err := range r.RevisionsFrom(0) {
		if err != nil {
			return err
		}
		f(e.Name(), number)
		number++
	}
	for e, err := range r.TransactionsFrom(0) {
		if err != nil {
			return err
		}
		f(e.Name(), number)
		number++
	}
	return nil
}
