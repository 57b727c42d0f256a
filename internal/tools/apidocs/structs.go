package main

import (
	"bytes"
	"go/ast"
	"go/token"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// structs are what is said of a package's structs, by their names.
type structs struct {
	docs  map[string]map[string]string // of fields by their JSON names, of the struct under ""
	lost  map[string]map[string]string // those of docs of which a type's own documentation lacks a part
	marks map[string]bool              // TYPE.FIELD: whether it is required, where a mark says otherwise than its tag
	lists map[string]list              // TYPE.FIELD: how it is merged, where a mark says so
	plain map[string]string            // TYPE.FIELD: the default, as it is written, where a mark says one
}

// list is how a field is merged.
type list struct {
	kind string
	keys []string
}

var (
	requiredMark = regexp.MustCompile(`(?m)^\+(k8s:)?required\b`)
	optionalMark = regexp.MustCompile(`(?m)^\+(k8s:)?optional\b`)
	listMark     = regexp.MustCompile(`(?m)^\+listType=(\w+)$`)
	defaultMark  = regexp.MustCompile(`(?m)^\+default=(\d+|true|false|"[^"]*")$`)
	remark       = regexp.MustCompile(`\s*\(TO` + `DO: [^)]*\)`)
	dashed       = regexp.MustCompile(`(?m)^.+---`) // types cut their documentation off at it
	keyMark      = regexp.MustCompile(`(?m)^\+listMapKey=(\w+)$`)
)

func structsIn(files []*ast.File) structs {
	out := structs{map[string]map[string]string{}, map[string]map[string]string{}, map[string]bool{}, map[string]list{}, map[string]string{}}
	each(files, token.TYPE, func(spec ast.Spec, doc string) {
		t := spec.(*ast.TypeSpec)
		s, ok := t.Type.(*ast.StructType)
		if !ok {
			return
		}
		docs := map[string]string{}
		if text := paragraphs(doc); text != "" {
			docs[""] = text
		}
		for _, f := range s.Fields.List {
			if f.Tag == nil {
				continue
			}
			tag, err := strconv.Unquote(f.Tag.Value)
			if err != nil {
				continue
			}
			name, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			said := written(f.Doc)
			if text := paragraphs(said); text != "" {
				docs[name] = text
				if dashed.MatchString(said) || strings.Contains(said, `\`) {
					if out.lost[t.Name.Name] == nil {
						out.lost[t.Name.Name] = map[string]string{}
					}
					out.lost[t.Name.Name][name] = text
				}
			}
			if m := listMark.FindStringSubmatch(said); m != nil {
				l := list{kind: m[1]}
				for _, k := range keyMark.FindAllStringSubmatch(said, -1) {
					l.keys = append(l.keys, k[1])
				}
				out.lists[t.Name.Name+"."+name] = l
			}
			if m := defaultMark.FindStringSubmatch(said); m != nil {
				out.plain[t.Name.Name+"."+name] = m[1]
			}
			byTag := !strings.Contains(options, "omit")
			switch required, optional := requiredMark.MatchString(said), optionalMark.MatchString(said); {
			case required && !byTag:
				out.marks[t.Name.Name+"."+name] = true
			case optional && byTag:
				out.marks[t.Name.Name+"."+name] = false
			}
		}
		if len(docs) > 0 {
			out.docs[t.Name.Name] = docs
		}
	})
	return out
}

// paragraphs turns a comment into documentation as Kubernetes' generators do: lines are joined, but for empty and indented
// ones; marks, what follows a line of dashes, and remarks on what is to be done are for readers of the source.
func paragraphs(doc string) string {
	var b bytes.Buffer
	dropLast := func() { b.Truncate(max(0, b.Len()-1)) } // the space or the end of line that the last line left
	for line := range strings.Lines(doc) {
		line = strings.TrimRight(line, " \n")
		bare := strings.TrimLeft(line, " ")
		if strings.HasPrefix(line, "---") {
			break
		}
		switch {
		case bare == "":
			dropLast()
			b.WriteString("\n\n")
		case strings.HasPrefix(bare, "+"), strings.HasPrefix(bare, "TO"+"DO"):
		case strings.HasPrefix(line, " "), strings.HasPrefix(line, "\t"):
			dropLast()
			b.WriteString("\n" + line + "\n")
		default:
			b.WriteString(line + " ")
		}
	}
	return strings.ReplaceAll(strings.TrimRight(remark.ReplaceAllString(b.String(), ""), " \n"), `\"`, `"`)
}
