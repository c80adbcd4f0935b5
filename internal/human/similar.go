package human

import "strings"

// Similar reports whether a word that is not known was probably meant to be one that is:
// one begins the other, or one letter in four, at least one, is missing, too much, wrong
// or in its neighbour's place. Case and the difference of "_" and "-" do not count.
func Similar(word, known string) bool {
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	word, known = fold(word), fold(known)
	if word == "" || known == "" {
		return false
	}
	short, long := word, known
	if len(short) > len(long) {
		short, long = long, short
	}
	if len(short) >= 3 && strings.HasPrefix(long, short) {
		return true
	}
	return distance(word, known) <= max(1, len(short)/4)
}

// distance is the number of letters to add, take away, replace, or exchange with the
// next one, that make b of a.
func distance(a, b string) int {
	// rows[i%3][j] is the distance of the first i letters of a and the first j of b.
	var rows [3][]int
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		now, before, earlier := rows[i%3], rows[(i+2)%3], rows[(i+1)%3]
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(before[j]+1, now[j-1]+1, before[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], earlier[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}
