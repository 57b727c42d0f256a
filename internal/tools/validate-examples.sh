#!/bin/bash
# Runs terraform validate on every directory below examples/ that has Terraform files. TF_CLI_CONFIG_FILE must
# name a configuration that overrides the provider by the one that was built.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0 count=0

while read -r dir; do
	rm -rf "$work/case"
	cp -r "$dir" "$work/case"
	# Snippets of the documentation leave out what every configuration has.
	if ! grep -qs required_providers "$work"/case/*.tf; then
		printf 'terraform {\n  required_providers {\n    fairlead = { source = "fairlead-io/fairlead" }\n  }\n}\n' >"$work/case/required.tf"
	fi
	count=$((count + 1))
	if ! out=$(terraform -chdir="$work/case" validate -no-color 2>&1); then
		printf '%s:\n%s\n' "$dir" "$out" >&2
		failed=1
	fi
done < <(git ls-files -co --exclude-standard 'examples/*.tf' | xargs -n1 dirname | sort -u)

echo "examples: $count directories validated"
exit $failed
