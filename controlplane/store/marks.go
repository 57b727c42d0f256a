package store

import "hash/maphash"

// labelMarks has a bit for each of an object's labels, by key and value. What lacks a bit of what a selector asks for does
// not have that label: of a large list most is passed over without a look at labels, each of which is a map somewhere in
// memory.
type labelMarks uint64

var markSeed = maphash.MakeSeed()

// label is a key with its value.
type label struct{ key, value string }

func marksOf(labels map[string]string) labelMarks {
	var m labelMarks
	for key, value := range labels {
		m |= 1 << (maphash.Comparable(markSeed, label{key, value}) % 64)
	}
	return m
}

// has says whether an object with these marks may have all labels of the other ones.
func (m labelMarks) has(all labelMarks) bool { return m&all == all }
