package image

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestMatching has the logins that a kubelet picks of a file for an image, in the order in which it tries them.
func TestMatching(t *testing.T) {
	for _, tt := range []struct {
		image    string
		patterns []string // their own names
		want     []string
	}{
		{"r.example/team/app:1", []string{"r.example", "r.example/team", "r.example/team/app", "r.example/other", "s.example"}, []string{"r.example/team/app", "r.example/team", "r.example"}},
		{"r.example/team/app", []string{"r.example/te", "r.example/team/", "r.example/app"}, []string{"r.example/team/", "r.example/te"}},
		{"r.example/team-b/app", []string{"r.example/team", "r.example/team/"}, []string{"r.example/team"}},
		{"r.example:5000/app", []string{"r.example", "r.example:5001", "r.example:5000", "*.example", "*.example:5000"}, []string{"r.example:5000", "*.example:5000"}},
		{"eu.r.example/app", []string{"*.r.example", "*.example", "e*.r.example", "e?.*.ex*le", "us.r.example", "*"}, []string{"e?.*.ex*le", "e*.r.example", "*.r.example"}},
		{"r.example/v2/app", []string{"https://r.example/v2/", "http://r.example/v1/v2/app", "r.example/v2/app", "https://r.example/"}, []string{"http://r.example/v1/v2/app", "https://r.example/", "https://r.example/v2/"}},
		{"busybox", []string{"https://index.docker.io/v1/", "r.example"}, []string{"https://index.docker.io/v1/"}},
		{"me/app", []string{"index.docker.io", "docker.io", "docker.io/you"}, []string{"docker.io"}},
		{"localhost:5000/app", []string{"localhost", "127.0.0.1:5000", "[bad"}, nil},
	} {
		file := "{"
		for i, p := range tt.patterns {
			if i > 0 {
				file += ","
			}
			file += fmt.Sprintf("%q:{\"username\":%q}", p, p)
		}
		logins, err := credentials([]corev1.Secret{{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{corev1.DockerConfigKey: []byte(file + "}")}}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range matching(logins, tt.image) {
			got = append(got, l.username)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.image, got, tt.want)
		}
	}
}

// FuzzCredentials also says what each form of an entry means.
func FuzzCredentials(f *testing.F) {
	for _, s := range []string{`{"r":{"auth":"dTpw"}}`, `{"r":{"auth":"dTpwcA=="}}`, `{"r":{"auth":"dTpwcA"}}`, `{"r":{"auth":"dTo"}}`, `{"r":{"auth":"dQ=="}}`, `{"r":{"auth":"?"}}`, `{"r":{"identitytoken":"t"}}`, `[]`} {
		f.Add([]byte(s))
	}
	known := map[string]login{
		`{"r":{"auth":"dTpw"}}`: {username: "u", password: "p"}, `{"r":{"auth":"dTpwcA=="}}`: {username: "u", password: "pp"}, `{"r":{"auth":"dTpwcA"}}`: {username: "u", password: "pp"},
		`{"r":{"auth":"dTo"}}`: {username: "u"}, `{"r":{"identitytoken":"t"}}`: {password: "t"},
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := credentials([]corev1.Secret{{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{corev1.DockerConfigKey: data}}})
		if err != nil && len(got) > 0 {
			t.Errorf("both %+v and %v", got, err)
		}
		if want, ok := known[string(data)]; ok && (len(got) != 1 || got[0].username != want.username || got[0].password != want.password) {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
		matching(got, "r.example/app")
	})
}
