package kind

import (
	"fmt"
	"strconv"
	"strings"
)

// countIndexes returns how many indexes "1,3-5,7" names, which must be in order and below completions.
func countIndexes(text string, completions int32) (int32, error) {
	if text == "" {
		return 0, nil
	}
	var total int32
	last := int32(-1)
	for part := range strings.SplitSeq(text, ",") {
		from, to, err := indexRange(part, completions)
		if err != nil {
			return 0, err
		}
		if total > 0 && last >= from {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, from)
		}
		total += to - from + 1
		last = to
	}
	return total, nil
}

// indexRange reads "3" or "3-5".
func indexRange(text string, completions int32) (from, to int32, err error) {
	parts := strings.Split(text, "-")
	if len(parts) > 2 {
		return 0, 0, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	var ends [2]int32
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil {
			return 0, 0, fmt.Errorf("cannot convert string to integer for index: %q", p)
		}
		if n >= int(completions) {
			return 0, 0, fmt.Errorf("too large index: %q", p)
		}
		ends[i] = int32(n)
	}
	if len(parts) == 1 {
		return ends[0], ends[0], nil
	}
	if ends[0] >= ends[1] {
		return 0, 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", ends[0], ends[1])
	}
	return ends[0], ends[1], nil
}

// checkDisjoint refuses an index that has both failed and completed. Both lists are in order; what can not be read in
// them is passed over, since it is an error of its own.
func checkDisjoint(completed, failed string, completions int32) error {
	if completed == "" || failed == "" {
		return nil
	}
	done, lost := strings.Split(completed, ","), strings.Split(failed, ",")
	for len(done) > 0 && len(lost) > 0 {
		doneFrom, doneTo, err := indexRange(done[0], completions)
		if err != nil {
			done = done[1:]
			continue
		}
		lostFrom, lostTo, err := indexRange(lost[0], completions)
		if err != nil {
			lost = lost[1:]
			continue
		}
		switch {
		case doneFrom <= lostTo && lostFrom <= doneTo:
			return fmt.Errorf("failedIndexes and completedIndexes overlap at index: %d", max(doneFrom, lostFrom))
		case doneFrom <= lostFrom:
			done = done[1:]
		default:
			lost = lost[1:]
		}
	}
	return nil
}
