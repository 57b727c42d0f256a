package recorded

// Undescribed takes the descriptions out of an OpenAPI document, but not properties of that name.
func Undescribed(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["description"].(string); ok {
			delete(v, "description")
		}
		for _, inner := range v {
			Undescribed(inner)
		}
	case []any:
		for _, inner := range v {
			Undescribed(inner)
		}
	}
}
