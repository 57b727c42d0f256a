# Holds the lock file $f for as long as stdin brings a "." every two minutes, behind a first line that says who
# holds it. Prints "held", or "taken" and who has it. The kernel drops the lock with this shell, however it ends; the
# file is only the lock's name, so that a stale one is in nobody's way.
command -v flock >/dev/null 2>&1 || { echo "the command flock is missing; install util-linux" >&2; exit 1; }
IFS= read -r who || exit 1
tries=0
while :; do
  exec 9>>"$f" || exit 1
  flock -n 9
  case $? in
  0) # Another holder may have removed the file between the two: then this is the lock of nothing.
    if [ /proc/self/fd/9 -ef "$f" ]; then
      echo "$who; since $(date -u '+%Y-%m-%d %H:%M:%S') UTC" >"$f"
      # The run's commands share it, so that it lasts until the last of them has ended. Another may have come in here.
      flock -n -s 9 && break
    fi ;;
  1)
    if [ $((tries += 1)) -gt 3 ]; then
      echo taken
      head -c 300 "$f"
      exit 0
    fi
    sleep 1 9>&- ;;
  *) exit 1 ;; # it has said why
  esac
done
echo held
limit=$(command -v timeout) && limit="$limit 120"
while [ "$(exec $limit head -c 1 2>/dev/null 9>&-)" = . ]; do :; done
# With commands that still run, the file says whose they are.
if flock -n 9; then rm -f "$f"; fi
