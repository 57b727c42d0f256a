# Prints what the host is, one KEY=VALUE a line, keys may repeat. It changes nothing and needs only a POSIX shell
# with the usual small tools; what is not there is not printed.
say() { printf '%s=%s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null 2>&1; }
say time "$(date +%s)"
say uid "$(id -u)"
say hostname "$(uname -n)"
say os "$(uname -s)"
say kernel "$(uname -r)"
say machine "$(uname -m)"
if [ -r /etc/os-release ]; then (
  . /etc/os-release
  say release.id "$ID"; say release.version "$VERSION_ID"; say release.like "$ID_LIKE"; say release.name "$PRETTY_NAME"
) fi
say memory.kib "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
say cpus "$(grep -c '^processor' /proc/cpuinfo)"
say pid1.caps "$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/1/status)"
if [ -r /sys/fs/cgroup/cgroup.controllers ]; then
  say cgroup 2
  say cgroup.controllers "$(cat /sys/fs/cgroup/cgroup.controllers)"
elif grep -q ' cgroup ' /proc/mounts; then
  say cgroup 1
  say cgroup.controllers "$(awk '!/^#/ && $4 == 1 { printf "%s ", $1 }' /proc/cgroups)"
fi
if [ -d /run/systemd/system ]; then say init systemd
elif [ -x /sbin/openrc-run ] && [ -d /run/openrc ]; then say init openrc
else say init none; fi
for m in apt-get dnf apk; do if has $m; then say packages $m; break; fi; done
images=
if has containerd; then images=$(containerd config dump 2>/dev/null | sed -n "s/^root *= *['\"]\(.*\)['\"] *\$/\1/p" | head -n 1); fi
say containerd.root "$images"
[ -n "$images" ] || images=/var/lib/containerd
for d in /usr/local/bin /etc /var/lib/fairlead /var/lib/fairlead/agent /var/log "$images"; do
  e=$d
  while [ ! -d "$e" ]; do e=${e%/*}; [ -n "$e" ] || e=/; done
  # Device, KiB free and in all, inodes free and in all, and the folder; 0 for what the file system does not count.
  count() { df "$@" 2>/dev/null | awk 'NR == 2 && $2 ~ /^[0-9]+$/ && $4 ~ /^[0-9]+$/ { n = $4 " " $2 } END { print n ? n : "0 0" }'; }
  say disk "$(stat -c %d "$e") $(count -Pk "$e") $(count -Pi "$e") $d"
done
if has ip; then
  ip -o addr show scope global 2>/dev/null | awk '{ print "address=" $2 " " $4 }'
  ip -4 route get 198.51.100.1 2>/dev/null | awk '{ for (i = 1; i < NF; i++) if ($i == "src") print "source=" $(i + 1) }'
  # Routes but the default one, and but ours: they are on links of ours or have a protocol of our own.
  ip -4 route show 2>/dev/null | awk '$1 != "nexthop" && !/ dev fairlead/ && !/ proto 102( |$)/ {
    to = $1; dev = "-"; if (to ~ /^[a-z]/ && to != "default") to = $2
    for (i = 2; i < NF; i++) if ($i == "dev") dev = $(i + 1)
    if (to != "default") print "route=" dev " " to
  }'
else
  for a in $(hostname -I 2>/dev/null); do say address "- $a"; done
fi
has sudo && say tool "sudo $(sudo -V 2>/dev/null | sed -n '1s/.* //p')"
has containerd && say tool "containerd $(containerd --version 2>/dev/null | awk '{ print $3 }')"
has runc && say tool "runc $(runc --version 2>/dev/null | sed -n '1s/.* //p')"
has nft && say tool "nft $(nft --version 2>/dev/null | awk '{ print $2 }')"
has flock && say tool "flock $(flock --version 2>/dev/null | awk '{ print $NF }')"
has conntrack && say tool "conntrack $(conntrack --version 2>/dev/null | awk '{ print $2 }')"
[ -S /run/containerd/containerd.sock ] && say containerd.socket /run/containerd/containerd.sock

# Kernel features: yes when they are in use, built in, loadable, or when a try in a network namespace of its own
# works; no when such a try or the module tools say so; nothing when there is no way to know.
module() {
  [ -d "/sys/module/$1" ] && return 0
  has modprobe && [ -d "/lib/modules/$(uname -r)" ] || return 2
  modprobe -n -q "$1" 2>/dev/null
}
feature() {
  module "$2"
  case $? in 0) say feature "$1 yes"; return ;; 1) r=no ;; *) r= ;; esac
  if [ -n "$3" ] && [ "$(id -u)" = 0 ] && has unshare && has "${3%% *}"; then
    if unshare -n sh -c "$3" >/dev/null 2>&1; then r=yes; elif unshare -n true 2>/dev/null; then r=no; fi
  fi
  [ -z "$r" ] || say feature "$1 $r"
}
feature nf_tables nf_tables 'nft add table ip fairlead_try'
feature bridge bridge 'ip link add fairlead0 type bridge'
feature veth veth 'ip link add fairlead0 type veth peer name fairlead1'
feature vxlan vxlan 'ip link add fairlead0 type vxlan id 4096 dstport 8472 dev lo'
feature br_netfilter br_netfilter
if grep -qw overlay /proc/filesystems; then say feature "overlay yes"; else feature overlay overlay; fi

# Listening sockets on the ports that we need: PROTOCOL PORT PID COMMAND, PID 0 when it is the kernel's or hidden.
{
  awk 'FNR > 1 && $4 == "0A" { print "tcp " $2 " " $10 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
  awk 'FNR > 1 { print "udp " $2 " " $10 }' /proc/net/udp /proc/net/udp6 2>/dev/null
} | while read -r proto local inode; do
  port=$(printf '%d' "0x${local##*:}")
  case " $PORTS " in *" $proto/$port "*) ;; *) continue ;; esac
  # A resolver on an address of its own is in nobody's way: only all addresses and 169.254.20.10 are.
  case "$port ${local%:*}" in
  "53 00000000" | "53 00000000000000000000000000000000" | "53 0A14FEA9") ;;
  "53 "*) continue ;;
  esac
  pid=0 name=
  [ "$inode" = 0 ] || pid=$(ls -l /proc/[0-9]*/fd 2>/dev/null |
    awk -v s="socket:[$inode]" '/^\/proc\// { split($1, p, "/") } $NF == s { print p[3]; exit }')
  [ -z "$pid" ] && pid=0
  [ "$pid" = 0 ] || name=$(cat "/proc/$pid/comm" 2>/dev/null)
  say port "$proto $port $pid $name"
done
for s in k3s-server k3s-agent kubelet rke2-server k0scontroller microk8s; do
  if has pidof && pidof "$s" >/dev/null 2>&1; then say kubernetes "$s"; fi
done
true
