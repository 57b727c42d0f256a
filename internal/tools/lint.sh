#!/bin/bash
# Checks what no test sees: formatting, vet, other platforms, a go.mod that is tidy, and leftovers.
set -uo pipefail
cd "$(dirname "$0")/../.."
failed=0

# check NAME COMMAND... fails when the command fails or prints anything.
check() {
	local name=$1 out
	shift
	if ! out=$("$@" 2>&1) || [[ -n $out ]]; then
		printf 'lint: %s:\n%s\n' "$name" "$out" >&2
		failed=1
	fi
}

# absent PATTERN PATHSPEC... fails when a line of these files matches.
absent() {
	local pattern=$1
	shift
	! git grep -nE "$pattern" -- "$@"
}

check 'not formatted by gofmt' gofmt -l $(git ls-files '*.go')
check 'not formatted by terraform fmt' terraform fmt -check -recursive examples
check 'go.mod or go.sum is not tidy' go mod tidy -diff
check 'left over' absent '\b(TODO|FIXME|XXX|HACK)\b|[Nn]ot implemented' '*.go' '*.sh' '*.tf' '*.md' '*.tmpl' \
	':!docs/resources' ':!CONTRIBUTING.md' ':!STYLE.md' ':!internal/tools/lint.sh'
check 'skipped or sleeping tests' absent '\bt\.Skip|\btime\.Sleep\(' '*_test.go'
check 'vet' go vet -p 2 ./...
for platform in linux/arm64 darwin/arm64; do
	check 'platforms' go run ./internal/tools/typecheck "$platform" .
done

exit $failed
