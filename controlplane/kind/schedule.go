package kind

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scheduleFields are the five fields of a cron schedule with what they hold.
var scheduleFields = []struct {
	name      string
	low, high int
	names     []string // of low, low+1, …
}{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day of month", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"day of week", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

var scheduleMacros = []string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}

// checkSchedule says what is wrong with a cron schedule: five fields, a macro or "@every DURATION".
func checkSchedule(s string) error {
	if strings.HasPrefix(s, "TZ=") || strings.HasPrefix(s, "CRON_TZ=") {
		return fmt.Errorf("cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	}
	if every, ok := strings.CutPrefix(s, "@every "); ok {
		if _, err := time.ParseDuration(every); err != nil {
			return fmt.Errorf("failed to parse duration %s: %w", s, err)
		}
		return nil
	}
	if strings.HasPrefix(s, "@") {
		if !slices.Contains(scheduleMacros, s) {
			return fmt.Errorf("unrecognized descriptor: %s", s)
		}
		return nil
	}
	parts := strings.Fields(s)
	if len(parts) != len(scheduleFields) {
		return fmt.Errorf("expected exactly 5 fields, found %d: %v", len(parts), parts)
	}
	for i, part := range parts {
		for _, item := range strings.Split(part, ",") {
			if err := checkScheduleRange(item, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkScheduleRange checks one of *, ?, N, N-M, each with /STEP.
func checkScheduleRange(item string, fieldIndex int) error {
	f := scheduleFields[fieldIndex]
	span, step, stepped := strings.Cut(item, "/")
	if n, err := strconv.Atoi(step); stepped && (err != nil || n <= 0) {
		return fmt.Errorf("step of %s should be a positive number: %s", f.name, item)
	}
	if span == "*" || span == "?" {
		return nil
	}
	from, to, ranged := strings.Cut(span, "-")
	low, err := scheduleValue(from, fieldIndex)
	if err != nil {
		return err
	}
	if !ranged {
		return nil
	}
	high, err := scheduleValue(to, fieldIndex)
	if err != nil {
		return err
	}
	if low > high {
		return fmt.Errorf("beginning of range (%d) beyond end of range (%d): %s", low, high, item)
	}
	return nil
}

func scheduleValue(text string, fieldIndex int) (int, error) {
	f := scheduleFields[fieldIndex]
	if at := slices.Index(f.names, strings.ToLower(text)); at >= 0 {
		return f.low + at, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("failed to parse %s %q", f.name, text)
	}
	if n < f.low || n > f.high {
		return 0, fmt.Errorf("%s %d is not between %d and %d", f.name, n, f.low, f.high)
	}
	return n, nil
}
