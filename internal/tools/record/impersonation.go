package main

import (
	"context"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/terraform-provider-fairlead/internal/recorded"
)

// recordImpersonations sends the requests that a recording of impersonations has, and writes it anew with their answers.
func recordImpersonations(ctx context.Context, kubeconfig, file string) error {
	if _, _, err := connect(ctx, kubeconfig); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var all recorded.Impersonations
	if err := yaml.UnmarshalStrict(data, &all); err != nil {
		return err
	}
	answers, err := all.Ask(ctx, config)
	if err != nil {
		return err
	}
	for i, a := range answers {
		all.Requests[i].Answer = a
	}
	if data, err = yaml.Marshal(&all); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
