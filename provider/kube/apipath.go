package kube

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// location is where in a Terraform value a path of the API leads.
type location struct {
	at    path.Path
	value tftypes.Value // the zero Value when there is none
	exact bool          // false when the path leads on to what Terraform does not have
}

// locate follows a path as the API writes it in errors, "spec.ports[0].port", or in field managers' conflicts,
// `.spec.ports[port=80,protocol="TCP"].nodePort`, through a value. It goes as far as it can.
func (n *node) locate(text string, value tftypes.Value) location {
	loc := location{at: rootPath, value: value, exact: true}
	for text != "" {
		var next *node
		switch n.kind {
		case kindObject:
			next, text = n.stepObject(text, &loc)
		case kindMap:
			next, text = n.stepMap(text, &loc)
		case kindList:
			next, text = n.stepList(text, &loc)
		}
		if next == nil {
			loc.exact = n.kind == kindSet // an element of a set has no path of its own
			return loc
		}
		n = next
	}
	return loc
}

func (n *node) stepObject(text string, loc *location) (*node, string) {
	text = strings.TrimPrefix(text, ".")
	end := strings.IndexAny(text, ".[")
	if end < 0 {
		end = len(text)
	}
	f := n.member(text[:end])
	if f == nil {
		return nil, ""
	}
	loc.at, loc.value = loc.at.AtName(f.attr), member(loc.value, f.attr)
	return f.node, text[end:]
}

// stepMap takes the whole rest as the key when the values are scalars, since keys have dots.
func (n *node) stepMap(text string, loc *location) (*node, string) {
	var name string
	switch {
	case strings.HasPrefix(text, "["):
		end := closing(text)
		name, text = text[1:max(1, end)], text[min(end+1, len(text)):]
	default:
		name, text = strings.TrimPrefix(text, "."), ""
		if dot := strings.IndexByte(name, '.'); n.elem.kind == kindObject && dot >= 0 {
			name, text = name[:dot], name[dot:]
		}
	}
	loc.at, loc.value = loc.at.AtMapKey(name), member(loc.value, name)
	return n.elem, text
}

func (n *node) stepList(text string, loc *location) (*node, string) {
	if !strings.HasPrefix(text, "[") {
		return nil, ""
	}
	end := closing(text)
	inside, rest := text[1:end], text[min(end+1, len(text)):]
	index, err := strconv.Atoi(inside)
	if err != nil {
		index = n.indexOf(inside, loc.value)
	}
	list := elements(loc.value)
	if index < 0 || index >= len(list) {
		loc.value = tftypes.Value{}
		return nil, ""
	}
	loc.at, loc.value = loc.at.AtListIndex(index), list[index]
	return n.elem, rest
}

// indexOf finds the element with keys such as name="web"; -1 when there is none.
func (n *node) indexOf(keys string, list tftypes.Value) int {
	wanted := map[string]any{}
	for keys != "" {
		name, rest, _ := strings.Cut(keys, "=")
		var value any
		decoder := json.NewDecoder(strings.NewReader(rest))
		if decoder.Decode(&value) != nil {
			return -1
		}
		wanted[name] = value
		keys = strings.TrimPrefix(rest[decoder.InputOffset():], ",")
	}
	id := n.liveKey(wanted)
	for i, element := range elements(list) {
		if got, ok := n.elementKey(element); ok && got == id {
			return i
		}
	}
	return -1
}

// closing returns the index of the bracket that closes the one text starts with, quoted brackets passed over;
// the length of text when there is none.
func closing(text string) int {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quoted:
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == ']' && !quoted:
			return i
		}
	}
	return len(text)
}
