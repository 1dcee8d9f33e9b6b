#!/bin/bash
KAFKA_HEAP_OPTS=-Xmx128m WEIR_LOG4J2=/etc/kafka/docker/tools-log4j2.yaml exec /opt/kafka/bin/kafka-run-class.sh org.apache.kafka.tools.TopicCommand "$@"
