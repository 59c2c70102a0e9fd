#!/bin/sh
# Weak symbols in an object compiled for AVX may replace the baseline's; there must be none. Arguments: archives (other files are ignored).
set -eu
archives=0
status=0
for file in "$@"; do
  case "$file" in *.a) ;; *) continue ;; esac
  archives=$((archives + 1))
  weak=$(nm -C "$file" | grep -E ' [VWuvw] ' || true)
  if [ -n "$weak" ]; then
    echo "$file:"
    echo "$weak"
    status=1
  fi
done
if [ "$archives" -lt 4 ]; then
  echo "$archives archives found; 4 are required"
  status=1
fi
exit $status
