// Command fetch gets pages, for tests that look at a cluster from inside a pod: it prints each page, or why there
// is none, and exits with 1 when one was missing.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	c := &http.Client{Timeout: 5 * time.Second}
	code := 0
	for _, url := range os.Args[1:] {
		page, err := get(c, url)
		if err != nil {
			page, code = fmt.Sprintf("error: %v\n", err), 1
		}
		fmt.Printf("%s %s", url, page)
	}
	os.Exit(code)
}

func get(c *http.Client, url string) (string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s", resp.Status)
	}
	return string(page), err
}
