package main

import "github.com/fairlead-io/terraform-provider-fairlead/cli"

// command runs the `fairlead` command line.
func command(args []string) int { return cli.Main(args) }
