import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;

import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.internals.DefaultKafkaClientSupplier;

/**
 * The workloads of "weir bench worker" in Kafka Streams, with its exactly_once_v2 and its RocksDB stores, without record
 * caches so that every update is emitted, which is what weir does.
 *
 * Arguments are name=value: brokers, workload, in, out, app, lanes, interval (ms), state (directory), records (of the
 * input), idle (ms without a commit after which it ends when so many are committed; 0: at SIGTERM only), restores (with
 * any value: a line of JSON is printed for each store that was restored). What else has a dot in its name is a setting of
 * Kafka Streams. A rebalance may take seconds, so silence alone does not mean the end. At the end it prints one line of
 * JSON like that of weir's worker, without CPU time, which is measured from outside.
 */
public final class Peer {
    private static final long WINDOW_MS = 10_000;

    /** What was committed: positions of the input as they are in the transactions that were committed. */
    private static final class Progress {
        final String in;
        final Map<Integer, Long> positions = new HashMap<>();
        long commits, first, last;

        Progress(String in) {
            this.in = in;
        }

        synchronized void committed(Map<Integer, Long> ends) {
            commits++;
            positions.putAll(ends); // none where only the repartition topic went on
            last = System.nanoTime();
            if (first == 0) {
                first = last;
            }
        }

        synchronized boolean over(long wanted, long idleNanos) {
            return records() >= wanted && last != 0 && System.nanoTime() - last > idleNanos;
        }

        /** The input was written without transactions and is read from its start: a position counts records. */
        private long records() {
            return positions.values().stream().mapToLong(Long::longValue).sum();
        }

        synchronized String line() throws Exception {
            return String.format(java.util.Locale.ROOT,
                "{\"records\":%d,\"seconds\":%.6f,\"max_rss_bytes\":%d,\"commits\":%d,\"aborts\":0}",
                records(), (last - first) / 1e9, peakRss(), commits);
        }
    }

    private static long peakRss() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) << 10;
            }
        }
        return 0;
    }

    /** Java's own producer, which also tells what its transactions committed. */
    private static final class Noting extends KafkaProducer<byte[], byte[]> {
        private final Progress progress;
        private final Map<Integer, Long> open = new HashMap<>();

        Noting(Map<String, Object> config, Progress progress) {
            super(config, new ByteArraySerializer(), new ByteArraySerializer());
            this.progress = progress;
        }

        @Override
        public void sendOffsetsToTransaction(Map<TopicPartition, OffsetAndMetadata> offsets, ConsumerGroupMetadata group) {
            super.sendOffsetsToTransaction(offsets, group);
            offsets.forEach((partition, position) -> {
                if (partition.topic().equals(progress.in)) {
                    open.put(partition.partition(), position.offset());
                }
            });
        }

        @Override
        public void commitTransaction() {
            super.commitTransaction();
            progress.committed(open);
            open.clear();
        }

        @Override
        public void abortTransaction() {
            open.clear();
            super.abortTransaction();
        }
    }

    /** Prints a line of JSON for each store that was restored, like weir's worker. */
    private static final class Restores implements StateRestoreListener {
        private final Map<TopicPartition, Long> began = new ConcurrentHashMap<>();

        @Override
        public void onRestoreStart(TopicPartition changelog, String store, long from, long to) {
            began.put(changelog, System.currentTimeMillis());
        }

        @Override
        public void onBatchRestored(TopicPartition changelog, String store, long end, long records) {
        }

        @Override
        public void onRestoreEnd(TopicPartition changelog, String store, long records) {
            System.out.println(String.format(java.util.Locale.ROOT, "{\"restored\":%d,\"began_ms\":%d,\"ended_ms\":%d}",
                records, began.get(changelog), System.currentTimeMillis()));
            System.out.flush();
        }
    }

    private static byte[] upperFirst(byte[] value) {
        if (value.length > 0 && value[0] >= 'a' && value[0] <= 'z') {
            value[0] -= 'a' - 'A'; // the deserializer made it, nobody else has it
        }
        return value;
    }

    private static byte[] group(byte[] key) {
        int h = 0x811c9dc5; // FNV-1a, 32 bits
        for (byte c : key) {
            h = (h ^ (c & 0xff)) * 16777619;
        }
        int g = Integer.remainderUnsigned(h, 10_000);
        return new byte[] {'g', (byte) ('0' + g / 1000), (byte) ('0' + g / 100 % 10), (byte) ('0' + g / 10 % 10), (byte) ('0' + g % 10)};
    }

    private static StreamsBuilder topology(String workload, String in, String out) {
        var builder = new StreamsBuilder();
        var bytes = Serdes.ByteArray();
        var counts = Produced.with(bytes, Serdes.Long()); // 8 bytes, big-endian
        KStream<byte[], byte[]> source = builder.stream(in, Consumed.with(bytes, bytes));
        switch (workload) {
            case "pass" -> source.mapValues(Peer::upperFirst).to(out, Produced.with(bytes, bytes));
            case "count" -> source.groupByKey(Grouped.with(bytes, bytes))
                .count(Materialized.<byte[], Long, org.apache.kafka.streams.state.KeyValueStore<org.apache.kafka.common.utils.Bytes, byte[]>>as("counts")
                    .withKeySerde(bytes).withCachingDisabled())
                .toStream().to(out, counts);
            case "window" -> source.groupByKey(Grouped.with(bytes, bytes))
                .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofMillis(WINDOW_MS)))
                .count(Materialized.<byte[], Long, org.apache.kafka.streams.state.WindowStore<org.apache.kafka.common.utils.Bytes, byte[]>>as("windows")
                    .withKeySerde(bytes).withCachingDisabled())
                .toStream((window, count) -> ByteBuffer.allocate(window.key().length + 8).put(window.key()).putLong(window.window().start()).array())
                .to(out, counts);
            case "rekey" -> source.selectKey((key, value) -> group(key))
                .groupByKey(Grouped.with("by-group", bytes, bytes))
                .count(Materialized.<byte[], Long, org.apache.kafka.streams.state.KeyValueStore<org.apache.kafka.common.utils.Bytes, byte[]>>as("groups")
                    .withKeySerde(bytes).withCachingDisabled())
                .toStream().to(out, counts);
            default -> throw new IllegalArgumentException("there is no workload " + workload);
        }
        return builder;
    }

    public static void main(String[] args) throws Exception {
        var a = new HashMap<String, String>();
        Arrays.stream(args).map(s -> s.split("=", 2)).forEach(s -> a.put(s[0], s[1]));
        var progress = new Progress(a.get("in"));
        long idle = Long.parseLong(a.getOrDefault("idle", "0"));
        long records = Long.parseLong(a.getOrDefault("records", "0"));

        var p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, a.get("brokers"));
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, a.get("app"));
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, a.getOrDefault("interval", "100"));
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, a.getOrDefault("lanes", "2"));
        p.put(StreamsConfig.STATE_DIR_CONFIG, a.get("state"));
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
        a.forEach((name, value) -> {
            if (name.contains(".")) {
                p.put(name, value);
            }
        });
        var supplier = new DefaultKafkaClientSupplier() {
            @Override
            public Producer<byte[], byte[]> getProducer(Map<String, Object> config) {
                return new Noting(config, progress);
            }
        };
        var streams = new KafkaStreams(topology(a.get("workload"), a.get("in"), a.get("out")).build(), p, supplier);
        var end = new CountDownLatch(1);
        if (a.containsKey("restores")) {
            streams.setGlobalStateRestoreListener(new Restores());
        }
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        // At SIGTERM the JVM waits for this hook; the main thread ends the process when it has closed everything.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            end.countDown();
            while (true) {
                java.util.concurrent.locks.LockSupport.park();
            }
        }));
        streams.start();
        while (!end.await(100, java.util.concurrent.TimeUnit.MILLISECONDS)) {
            if (idle > 0 && progress.over(records, idle * 1_000_000)) {
                break;
            }
        }
        streams.close(Duration.ofSeconds(30));
        System.out.println(progress.line());
        System.out.flush();
        Runtime.getRuntime().halt(0); // after SIGTERM, else, it would be 143
    }
}
