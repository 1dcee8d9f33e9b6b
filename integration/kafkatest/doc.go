// Package kafkatest gives a test a real Apache Kafka, of one broker or of three.
//
//	func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		c := kafkatest.Shared(t)              // one broker for the whole test binary
//		topic := c.Topic(t, 4)                // a name of this test's own
//		client := c.Client(t, kgo.ConsumeTopics(topic))
//		...
//	}
//
//	func TestBrokerDies(t *testing.T) {
//		c := kafkatest.Start(t, kafkatest.Options{Brokers: 3})  // brokers of this test's own
//		c.Kill(t, 0)
//		c.Restart(t, 0)
//	}
//
// The broker comes from the first of three ways that works:
//
//  1. KAFKA_BROKERS=host:port,... names a running cluster. Its settings are its owner's, so it serves [Shared] only:
//     a test that stops brokers or asks for settings takes one of the other ways.
//  2. A Docker engine runs the image KAFKA_IMAGE (default [DefaultImage]); an image built locally by
//     deploy/kafka-image/build.sh reads the same variables. WEIR_DOCKER_NETWORK=host serves an engine without a bridge.
//  3. Java 17 or newer with Maven: the jars of Apache Kafka [Version] are copied once into the user's cache directory
//     and brokers run as plain processes.
//
// WEIR_KAFKA=container or WEIR_KAFKA=java takes that way and no other. Where none works the test is skipped, once with
// the whole reason; WEIR_REQUIRE_KAFKA=1 makes that a failure instead.
//
// Brokers started here are tuned for tests: short minimum session timeout, a fast sweep of timed-out transactions, no
// delay of the first rebalance, few partitions in the internal topics, no creation of topics by accident, no retention by
// time. See [settings].
// They die with the test binary, however it ends.
package kafkatest
