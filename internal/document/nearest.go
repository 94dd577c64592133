package document

import "strings"

// Nearest returns the candidate closest to s by edit distance, and false when none is close enough to be meant.
// Case and the choice between - and _ do not count as differences. Earlier candidates win ties.
func Nearest(s string, candidates []string) (string, bool) {
	best, bestAt := "", 0
	n := normal(s)
	if len(n) > 64 {
		return "", false
	}
	for _, c := range candidates {
		d := distance(n, normal(c))
		if d > max(1, min(len(n), len(c))/3) {
			continue
		}
		if best == "" || d < bestAt {
			best, bestAt = c, d
		}
	}
	return best, best != ""
}

func normal(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// distance is the number of insertions, deletions, replacements and swaps of neighbours that turn a into b.
func distance(a, b string) int {
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}
