#!/bin/bash
# make quickstart, quickstart-destroy and test-quickstart: examples/quickstart on the machine itself.
#
#   quickstart.sh up      build, apply, fetch the page
#   quickstart.sh down    destroy, also what an apply that was killed left
#   quickstart.sh check   up, killed and twice, a scale, a broken image, down; fails when anything is left behind
set -euo pipefail
cd "$(dirname "$0")/../../.."

root=$PWD
cache=$root/.cache/quickstart
example=$root/examples/quickstart
provider=$root/.cache/bin/terraform-provider-fairlead

export TF_CLI_CONFIG_FILE=$root/.cache/terraformrc TF_INPUT=0 CHECKPOINT_DISABLE=1

die() {
	echo "quickstart: $*" >&2
	exit 1
}

colour=()
[[ -t 1 ]] || colour=(-no-color)

tf() { terraform -chdir="$example" "$@"; }

need_root() { ((EUID == 0)) || die "it installs a cluster on this machine: run it as root"; }

# need_tools names what is missing and how to get it: nothing that apt has not is installed behind anybody's back.
need_tools() {
	command -v go >/dev/null || die "Go is missing: see https://go.dev/doc/install"
	command -v terraform >/dev/null || die "Terraform 1.11 or later is missing: see https://developer.hashicorp.com/terraform/install"
	make -s terraformrc
	local version
	version=$(terraform version -json | sed -n 's/.*"terraform_version": *"\([^"]*\)".*/\1/p')
	[[ $(printf '%s\n' 1.11.0 "$version" | sort -V | head -n1) == 1.11.0 ]] || die "Terraform $version is too old: 1.11 or later is needed"
}

build() {
	mkdir -p "$cache"
	echo "Building the provider, which is also the cluster's software (minutes the first time) ..."
	make -s build
	make -s image
}

# page fetches / through the service: bash speaks enough HTTP, so that no client needs to be installed.
page() {
	local address=${1#http://}
	exec 3<>"/dev/tcp/${address%:*}/${address##*:}"
	printf 'GET / HTTP/1.0\r\nHost: quickstart\r\n\r\n' >&3
	sed '1,/^\r$/d' <&3
	exec 3>&-
}

up() {
	need_root
	need_tools
	build
	echo "Applying examples/quickstart: packages that are missing, a cluster, a deployment of three pods, a service ..."
	tf apply -auto-approve -compact-warnings "${colour[@]}"
	local url
	url=$(tf output -raw url)
	echo
	echo "The page, fetched through the service at $url :"
	for _ in 1 2 3; do
		page "$url" | sed 's/^/  /'
	done
	next "$url"
}

next() {
	cat <<EOF

To try next:
  export TF_CLI_CONFIG_FILE=$TF_CLI_CONFIG_FILE
  curl $1                                          any of the pods answers
  kubectl --kubeconfig /var/lib/fairlead/server/admin.kubeconfig get pods -o wide
  terraform -chdir=examples/quickstart plan                              has nothing to do
  terraform -chdir=examples/quickstart apply -var replicas=5             scales
  terraform -chdir=examples/quickstart apply -var image=localhost/no:1   fails, and says why; apply without it mends
  make quickstart-destroy                                                leaves the machine as it was
EOF
}

down() {
	need_root
	need_tools
	[[ -x $provider && -f $TF_CLI_CONFIG_FILE ]] || make -s build
	mkdir -p "$cache"
	# An apply that was killed left things on the machine that no state names: what is begun can be finished, and undone.
	if ! grep -qs fairlead_cluster "$example/terraform.tfstate" && [[ -n $(leftovers) ]]; then
		tf apply -auto-approve -compact-warnings "${colour[@]}" -target=fairlead_cluster.main
	fi
	tf destroy -auto-approve -compact-warnings "${colour[@]}"
	rm -f "$example"/terraform.tfstate "$example"/terraform.tfstate.backup "$example"/.terraform.tfstate.lock.info
	rm -rf "$cache"
	echo "quickstart: this machine is as it was."
}

# leftovers prints what a cluster puts on a machine and is there: nothing, when there is none.
leftovers() {
	local own p
	own=$(readlink /proc/self/ns/pid)
	for p in /proc/[0-9]*; do
		# Machines in containers on this one may be members of clusters of their own.
		[[ $(readlink "$p/ns/pid" 2>/dev/null) == "$own" ]] || continue
		tr '\0' ' ' <"$p/cmdline" 2>/dev/null | grep -E '^/usr/local/bin/fairlead |containerd-shim.* -namespace fairlead ' || true
	done
	ip -o link show | grep -E '^[0-9]+: (fairlead|fl[0-9a-f]{6,})' || true
	ip route show | grep -E '^10\.(244|96)\.' || true
	nft list tables 2>/dev/null | grep fairlead || true
	grep -E ' /(run|var/lib)/fairlead' /proc/self/mounts || true
	ls -d /usr/local/bin/fairlead /etc/fairlead /var/lib/fairlead /run/fairlead /var/log/pods/* /run/netns/fairlead* \
		/etc/systemd/system/fairlead* /sys/fs/cgroup/fairlead* /sys/fs/cgroup/*/fairlead* 2>/dev/null || true
}

packages() { dpkg-query -W -f '${Package} ${Status}\n' | grep ' ok installed' | cut -d' ' -f1 | sort; }

# killed kills an apply as soon as the server runs, which no state names then.
killed() {
	local pid terraform i
	tf apply -auto-approve -no-color >"$root/.cache/killed.log" 2>&1 &
	pid=$!
	for ((i = 0; i < 1200; i++)); do
		[[ ! -e /var/lib/fairlead/server/etcd ]] || break
		kill -0 $pid 2>/dev/null || break
		sleep 0.1
	done
	# $pid is a subshell. The provider is killed too: it would go on.
	terraform=$(pgrep -P $pid) || die "the apply ended by itself:"$'\n'"$(cat "$root/.cache/killed.log")"
	kill -9 $pid "$terraform" $(pgrep -P "$terraform") || die "the apply ended by itself:"$'\n'"$(cat "$root/.cache/killed.log")"
	wait $pid || true
}

check() {
	need_root
	need_tools
	local found
	found=$(leftovers)
	[[ -z $found ]] || die "this machine has a cluster already:"$'\n'"$found"
	mkdir -p "$cache"
	packages >"$root/.cache/packages.before"
	trap 'down >"$root/.cache/quickstart-down.log" 2>&1 || cat "$root/.cache/quickstart-down.log" >&2' EXIT

	echo "check: an apply that is killed is undone"
	build
	killed
	down >"$root/.cache/quickstart-down.log" 2>&1 || { cat "$root/.cache/quickstart-down.log" >&2; die "the destroy failed"; }
	found=$(leftovers)
	[[ -z $found ]] || die "left behind:"$'\n'"$found"

	up
	local url out code
	url=$(tf output -raw url)
	[[ $(page "$url") == "Hello from web-"* ]] || die "the page is not the web server's"

	echo "check: a second run changes nothing"
	make -s quickstart >"$cache/second.log" || { cat "$cache/second.log" >&2; die "the second run failed"; }
	grep -q '0 added, 0 changed, 0 destroyed' "$cache/second.log" || { cat "$cache/second.log" >&2; die "the second run changed something"; }

	echo "check: a scale and a broken image"
	tf apply -auto-approve -no-color -var replicas=5 >"$cache/scale.log" || { cat "$cache/scale.log" >&2; die "the scale failed"; }
	code=0
	out=$(tf apply -auto-approve -no-color -var image=localhost/no:1 2>&1) || code=$?
	((code == 1)) || die "an image that is nowhere ended with $code:"$'\n'"$out"
	grep -qE 'ImagePullBackOff|ErrImagePull' <<<"$out" || die "the diagnostic does not name the cause:"$'\n'"$out"
	[[ $(page "$url") == "Hello from web-"* ]] || die "the old pods do not answer beside the broken ones"

	echo "check: the end"
	trap - EXIT
	down
	found=$(leftovers)
	[[ -z $found ]] || die "left behind:"$'\n'"$found"
	diff "$root/.cache/packages.before" <(packages) || die "packages differ"
	echo "ok  	quickstart"
}

case ${1:-} in
up | down | check) "$1" ;;
*) die "usage: quickstart.sh up|down|check" ;;
esac
