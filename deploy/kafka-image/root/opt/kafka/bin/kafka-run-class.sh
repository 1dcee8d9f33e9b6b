#!/bin/bash
# kafka-run-class.sh CLASS [ARGUMENT...]: a main class of Apache Kafka with the options of the environment.
exec java ${KAFKA_HEAP_OPTS:--Xmx1g} ${KAFKA_JVM_PERFORMANCE_OPTS:-} -Djava.awt.headless=true \
  -Dlog4j2.configurationFile="${WEIR_LOG4J2:-/etc/kafka/docker/log4j2.yaml}" ${KAFKA_OPTS:-} \
  -cp '/opt/kafka/libs/*' "$@"
