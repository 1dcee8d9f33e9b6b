#!/usr/bin/env bash
# Builds an image of Apache Kafka for machines that reach no image registry. It reads the same variables as
# apache/kafka:4.3.1 (CLUSTER_ID, KAFKA_<SETTING>), because the class that turns them into properties is in Kafka's jar.
#
#   deploy/kafka-image/build.sh [NAME]          default name: weir-kafka:4.3.1
#
# Needs root, debootstrap, a Docker engine, Go, and Java with Maven for the jars (as the tests do). Debian packages come
# from debootstrap's default mirror, or from the one in DEBIAN_MIRROR.
set -euo pipefail
name=${1:-weir-kafka:4.3.1}
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)

[ "$(id -u)" = 0 ] || { echo "debootstrap needs root: run this with sudo" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap" >&2; exit 1; }
docker version --format 'engine {{.Server.Version}}' || { echo "no Docker engine answers: deploy/README.md says how to start one" >&2; exit 1; }

jars=$(cd "$repo" && go run ./integration/kafkatest/kafka -jars)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

debootstrap --variant=minbase --include=openjdk-17-jre-headless bookworm "$work/root" ${DEBIAN_MIRROR:-} >"$work/log" 2>&1 ||
  { tail -n 20 "$work/log" "$work/root/debootstrap/debootstrap.log" >&2; exit 1; }
rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/{doc,man,locale}/*

mkdir -p "$work"/root/{opt/kafka/libs,opt/kafka/config,opt/kafka/logs,mnt/shared/config,var/lib/kafka/data,etc/kafka}
cp "$jars"/*.jar "$work/root/opt/kafka/libs/"
cp -R "$here"/root/. "$work/root/"
chroot "$work/root" useradd --uid 1000 --home-dir /opt/kafka kafka
chroot "$work/root" chown -R kafka /opt/kafka/config /opt/kafka/logs /var/lib/kafka

tar -C "$work/root" --numeric-owner -c . | docker import \
  --change 'USER kafka' --change 'EXPOSE 9092' --change 'WORKDIR /opt/kafka' --change 'CMD ["/etc/kafka/docker/run"]' \
  --change 'ENV LANG=C.UTF-8' --message 'Apache Kafka 4.3.1 on Debian, for tests' - "$name"
docker image ls "$name"
