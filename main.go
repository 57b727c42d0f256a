// Command fairlead is the Terraform provider fairlead-io/fairlead when Terraform starts it, and with a subcommand
// the software of the cluster's hosts: one binary, so that versions can not differ.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/fairlead-io/terraform-provider-fairlead/provider"
)

func main() {
	// Terraform starts plugins without arguments; a debugger's -debug is the exception.
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-debug") {
		os.Exit(command(os.Args[1:]))
	}
	debug := flag.Bool("debug", false, "serve the provider for a debugger to attach to")
	flag.Parse()
	if err := provider.Serve(*debug); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
