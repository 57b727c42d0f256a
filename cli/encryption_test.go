package cli_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/encryption"
)

// run runs a command of fairlead on the server's host and returns what it printed.
func (p *process) run(args ...string) string {
	p.t.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), asFairlead+"=1")
	var failed strings.Builder
	c.Stderr = &failed
	out, err := c.Output()
	if err != nil {
		p.t.Fatalf("fairlead %s: %v: %s%s", strings.Join(args, " "), err, out, failed.String())
	}
	return string(out)
}

// TestEncryptionCommand rotates the keys of a server by the command, and kills the server: what was written under the
// first key is under the second, and is read. Who is no administrator may not.
func TestEncryptionCommand(t *testing.T) {
	p := newProcess(t)
	file := filepath.Join(t.TempDir(), "server.yaml")
	if err := os.WriteFile(file, []byte("dataDir: "+p.dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := func(change func(*rest.Config)) *kubernetes.Clientset {
		t.Helper()
		c, err := p.config()
		if err != nil {
			t.Fatal(err)
		}
		change(c)
		hc, err := rest.HTTPClientFor(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(hc.CloseIdleConnections)
		k, err := kubernetes.NewForConfigAndClient(c, hc)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	p.start()
	admin, ctx := client(func(*rest.Config) {}), t.Context()
	var account *corev1.ServiceAccount
	p.eventually("the default service account is there", func() (ok bool) {
		var err error
		account, err = admin.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	if _, err := admin.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: map[string][]byte{"k": []byte("v")}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// keys reads the table that each of the commands prints: the state and the count of values of each key
	keys := func(command string) (ids []string, states string) {
		t.Helper()
		out := p.run("encryption", command, "--config", file)
		rows := strings.Split(strings.TrimSpace(out), "\n")
		if !regexp.MustCompile(`^KEY +STATE +SECRETS$`).MatchString(rows[0]) {
			t.Fatalf("%s printed:\n%s", command, out)
		}
		for _, row := range rows[1:] {
			f := strings.Fields(row)
			ids = append(ids, f[0])
			states += fmt.Sprintln(f[1], f[len(f)-1])
		}
		return ids, states
	}
	secrets, err := admin.CoreV1().Secrets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := len(secrets.Items)
	first, states := keys("status")
	if states != fmt.Sprintf("primary %d\n", n) {
		t.Fatalf("at first: %s", states)
	}
	token, err := admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stranger := client(func(c *rest.Config) {
		c.BearerToken, c.CertData, c.KeyData, c.CertFile, c.KeyFile = token.Status.Token, nil, nil, "", ""
	})
	for path, verb := range map[string]string{encryption.StatusPath: http.MethodGet, encryption.RotatePath: http.MethodPost, encryption.PrunePath: http.MethodPost} {
		if err := stranger.CoreV1().RESTClient().Verb(verb).AbsPath(path).Do(ctx).Error(); !apierrors.IsForbidden(err) {
			t.Errorf("%s by a service account: %v", path, err)
		}
	}
	second, states := keys("rotate")
	if len(second) != 2 || second[0] == first[0] || second[1] != first[0] || states != fmt.Sprintf("primary %d\nretired 0\n", n) {
		t.Fatalf("after the rotation: %v, %s", second, states)
	}
	p.kill()
	p.start()
	if after, states := keys("prune"); len(after) != 2 || after[0] != second[0] || states != fmt.Sprintf("primary %d\nretired 0\n", n) {
		t.Errorf("after a restart, with a key that has only just been retired: %v, %s", after, states)
	}
	if got, err := client(func(*rest.Config) {}).CoreV1().Secrets(namespace).Get(ctx, "s", metav1.GetOptions{}); err != nil || string(got.Data["k"]) != "v" {
		t.Errorf("the secret after a restart: %v, %v", got, err)
	}
}
