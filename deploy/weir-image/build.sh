#!/usr/bin/env bash
# Builds an image that holds the weir command alone, as a static binary: no base image, so no registry is needed.
#
#   deploy/weir-image/build.sh [NAME]           default name: weir:local
set -euo pipefail
name=${1:-weir:local}
repo=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/tmp" "$work/root/var/lib/weir"
chmod 1777 "$work/root/tmp"
(cd "$repo" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/root/weir" ./cmd/weir)
tar -C "$work/root" --owner 0 --group 0 -c . | docker import --change 'ENTRYPOINT ["/weir"]' --change 'WORKDIR /var/lib/weir' - "$name"
docker image ls "$name"
