package kubectltest

import (
	"fmt"
	"regexp"
	"strings"
)

// A transcript is lines of
//
//	# a comment
//	$ a command that must succeed
//	! a command that must fail
//	? a command that is repeated until it succeeds and shows what is expected
//
// each with the output lines below it that are expected, in order; others may come in between. In them … stands for
// any text, and all space is alike. "not: TEXT" says that no line has it, "nothing" that there is no output.
// Files follow the steps, each after a line "-- NAME --".

type stepKind byte

const (
	succeeds   stepKind = '$'
	fails      stepKind = '!'
	eventually stepKind = '?'
)

type step struct {
	number int // of its line
	kind   stepKind
	line   string
	want   []string
}

var fileHeading = regexp.MustCompile(`^-- (\S+) --$`)

func parse(script string) ([]*step, map[string]string, error) {
	var steps []*step
	files, file := map[string]string{}, ""
	number := 0
	for line := range strings.Lines(script) {
		number++
		text := strings.TrimRight(line, "\n")
		if m := fileHeading.FindStringSubmatch(text); m != nil {
			file = m[1]
			files[file] = ""
			continue
		}
		switch {
		case file != "":
			files[file] += line
		case text == "" || strings.HasPrefix(text, "#"):
		case len(text) > 2 && text[1] == ' ' && strings.ContainsRune("$!?", rune(text[0])):
			steps = append(steps, &step{number: number, kind: stepKind(text[0]), line: text[2:]})
		case len(steps) == 0:
			return nil, nil, fmt.Errorf("line %d: output before any command", number)
		default:
			last := steps[len(steps)-1]
			last.want = append(last.want, text)
		}
	}
	return steps, files, nil
}

// judge returns what is wrong with the outcome of a step, or "".
func (st *step) judge(out string, err error) string {
	if (err != nil) != (st.kind == fails) {
		if err == nil {
			return "it succeeded"
		}
		return err.Error()
	}
	lines := strings.Split(strings.ReplaceAll(out, "\r", ""), "\n")
	at := 0
	for _, w := range st.want {
		if text, ok := strings.CutPrefix(w, "not: "); ok {
			if strings.Contains(out, text) {
				return fmt.Sprintf("not expected: %s", text)
			}
			continue
		}
		if w == "nothing" {
			if strings.TrimSpace(out) != "" {
				return "output was not expected"
			}
			continue
		}
		p := pattern(w)
		for at < len(lines) && !p.MatchString(lines[at]) {
			at++
		}
		if at == len(lines) {
			return "missing: " + w
		}
		at++
	}
	return ""
}

func pattern(want string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`^\s*`)
	for i, word := range strings.Fields(want) {
		if i > 0 {
			b.WriteString(`\s+`)
		}
		for j, part := range strings.Split(word, "…") {
			if j > 0 {
				b.WriteString(`.*`)
			}
			b.WriteString(regexp.QuoteMeta(part))
		}
	}
	b.WriteString(`\s*$`)
	return regexp.MustCompile(b.String())
}
