# The shell in which a tutorial's blocks run, one after the other. Its argument is a private directory.
# Standard input brings the paths of blocks; after each, both outputs get a mark with the block's status.
set -o pipefail -o errtrace
__plexlab_mark=$PLEXLAB_MARK
unset PLEXLAB_MARK HISTFILE

# Ends the whole process group when nobody holds the other end of the pipe any more: when the runner is gone.
( exec <"$1/alive" >/dev/null 2>&1; read -r _; kill -KILL 0 ) &
disown

# Polling loops look more often: a sleep takes its time divided by PLEXLAB_SLEEP_DIVISOR.
sleep() {
  local part number unit total=0
  for part in "$@"; do
    unit=1000 number=$part
    case $part in
      *s) number=${part%s} ;;
      *m) number=${part%m} unit=60000 ;;
      *h) number=${part%h} unit=3600000 ;;
    esac
    [[ $number =~ ^[0-9]{1,6}$ ]] || { command sleep "$@"; return; }
    total=$((total + 10#$number * unit))
  done
  total=$((total / PLEXLAB_SLEEP_DIVISOR))
  command sleep "$((total / 1000)).$(printf %03d $((total % 1000)))"
}

# A log that is followed never ends; here it is followed for PLEXLAB_FOLLOW_SECONDS.
kubectl() {
  case " $* " in
    *" logs "*" -f "* | *" logs "*" --follow "*)
      local status=0
      timeout --signal=INT --kill-after=2 "$PLEXLAB_FOLLOW_SECONDS" kubectl "$@" || status=$?
      case $status in 124 | 137) return 0 ;; esac
      return "$status"
      ;;
    *) command kubectl "$@" ;;
  esac
}

# The first command of a block that fails, also in a pipeline whose end is well.
trap '__plexlab_error=$?; ((__plexlab_failed)) || __plexlab_failed=$__plexlab_error' ERR

while IFS= read -r __plexlab_block; do
  __plexlab_failed=0
  source "$__plexlab_block" </dev/null
  __plexlab_status=$?
  if ((__plexlab_failed)); then __plexlab_status=$__plexlab_failed; fi
  printf '\036%s %s\036' "$__plexlab_mark" "$__plexlab_status"
  printf '\036%s %s\036' "$__plexlab_mark" "$__plexlab_status" >&2
done
