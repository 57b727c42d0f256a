package kind

import "reflect"

// sameAsStored says whether all but metadata of an object is to the letter what Kubernetes' store has of an old one: there,
// nothing is empty and yet there, which in what a client sends it may be. Some kinds count that as a change.
func sameAsStored[T Object](obj, old T) bool {
	type encoded interface {
		Marshal() ([]byte, error)
		Unmarshal(data []byte) error
	}
	stored := reflect.New(reflect.TypeFor[T]().Elem())
	from, ok1 := any(old).(encoded)
	to, ok2 := stored.Interface().(encoded)
	if !ok1 || !ok2 {
		return true
	}
	data, err := from.Marshal()
	if err != nil || to.Unmarshal(data) != nil {
		return true // what can not be told apart is left to the comparison of what it means
	}
	a, b := reflect.ValueOf(obj).Elem(), stored.Elem()
	for i := range a.NumField() {
		switch a.Type().Field(i).Name {
		case "TypeMeta", "ObjectMeta":
			continue
		}
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			return false
		}
	}
	return true
}
