package wire

import (
	"fmt"
	"strings"

	"github.com/dirstorage/dirstorage/zodb"
)

// brokenTransaction is how an error begins that an iterator has in the place of a transaction.
const brokenTransaction = "transaction %s: "

// BreakTransaction returns the error of an iterator in the place of a transaction.
func BreakTransaction(tid zodb.TID, err error) error {
	return fmt.Errorf(brokenTransaction+"%w", tid, err)
}

// BrokenTransaction returns the transaction in whose place an error came, by the details of that; 0 if they
// do not begin with one.
func BrokenTransaction(details any) zodb.TID {
	args, ok := details.(Tuple)
	if list, is := details.(List); is {
		args, ok = Tuple(list), true
	}
	if !ok || len(args) == 0 {
		return 0
	}
	text, _ := args[0].(string)
	const before, digits = len("transaction "), 16
	if len(text) < before+digits {
		return 0
	}
	tid, err := zodb.ParseTID(text[before : before+digits])
	if err != nil || !strings.HasPrefix(text, fmt.Sprintf(brokenTransaction, tid)) {
		return 0
	}
	return tid
}
