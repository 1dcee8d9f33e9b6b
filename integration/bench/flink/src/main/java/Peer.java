import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * The workloads of "weir bench worker" in Flink, with its exactly-once Kafka sink and RocksDB with incremental checkpoints,
 * in a cluster inside this JVM. A keyBy sends the whole record on, key and value, through Flink's network layer, as the
 * others do through their repartition topics; here count and window need it, too, as Flink knows nothing of Kafka's
 * partitions.
 *
 * Arguments are name=value: brokers, workload, in, out, app, lanes, interval (ms between checkpoints), state (directory),
 * records (of the input), idle (ms without a commit after which it ends when so many are committed; 0: at SIGTERM only).
 * Of what else has a dot in its name, producer. and consumer. begin settings of the Kafka clients, the rest are Flink's.
 *
 * At the end it prints one line of JSON like that of weir's worker. Its seconds are those from the first record at the
 * sink to the last commit. With a checkpoint each second the first commit comes late, and the last up to a second after
 * the last record, which would say nothing of Flink's speed: the last checkpoint is asked for when all records have
 * reached the sink.
 */
public final class Peer {
    private static final long WINDOW_MS = 10_000;

    /** Flink refuses arrays as keys, and has no serializer of its own for wrapped ones: its keys are strings, a char for a byte. */
    private static String string(byte[] key) {
        return new String(key, StandardCharsets.ISO_8859_1);
    }

    private static byte[] bytes(String key) {
        return key.getBytes(StandardCharsets.ISO_8859_1);
    }

    private static byte[] bytes(long n) {
        return ByteBuffer.allocate(8).putLong(n).array();
    }

    private static byte[] upperFirst(byte[] value) {
        if (value.length > 0 && value[0] >= 'a' && value[0] <= 'z') {
            value[0] -= 'a' - 'A'; // the source made it, nobody else has it
        }
        return value;
    }

    private static String group(byte[] key) {
        int h = 0x811c9dc5; // FNV-1a, 32 bits
        for (byte c : key) {
            h = (h ^ (c & 0xff)) * 16777619;
        }
        int g = Integer.remainderUnsigned(h, 10_000);
        return string(new byte[] {'g', (byte) ('0' + g / 1000), (byte) ('0' + g / 100 % 10), (byte) ('0' + g / 10 % 10), (byte) ('0' + g % 10)});
    }

    /** Key and value; the time is beside the record. */
    private static final TypeInformation<Tuple2<byte[], byte[]>> RECORD =
        Types.TUPLE(PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO, PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);

    private static final class Deserializer implements KafkaRecordDeserializationSchema<Tuple2<byte[], byte[]>> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple2<byte[], byte[]>> out) {
            out.collect(Tuple2.of(record.key(), record.value()));
        }

        @Override
        public TypeInformation<Tuple2<byte[], byte[]>> getProducedType() {
            return RECORD;
        }
    }

    private record Serializer(String topic) implements KafkaRecordSerializationSchema<Tuple2<byte[], byte[]>> {
        @Override
        public ProducerRecord<byte[], byte[]> serialize(Tuple2<byte[], byte[]> result, KafkaSinkContext context, Long timestamp) {
            return new ProducerRecord<>(topic, null, timestamp, result.f0, result.f1);
        }
    }

    private static final class Count extends KeyedProcessFunction<String, Tuple2<byte[], byte[]>, Tuple2<byte[], byte[]>> {
        private transient ValueState<Long> counts;

        @Override
        public void open(OpenContext context) {
            counts = getRuntimeContext().getState(new ValueStateDescriptor<>("counts", Types.LONG));
        }

        @Override
        public void processElement(Tuple2<byte[], byte[]> record, Context context, Collector<Tuple2<byte[], byte[]>> out) throws Exception {
            Long before = counts.value();
            long n = before == null ? 1 : before + 1;
            counts.update(n);
            out.collect(Tuple2.of(bytes(context.getCurrentKey()), bytes(n)));
        }
    }

    /**
     * Tumbling windows of which every update is seen. Flink's own window operator gives that with a trigger that fires at
     * each record, but then reads the window once to add and once more to fire, and looks at its timer each time.
     */
    private static final class Windows extends KeyedProcessFunction<String, Tuple2<byte[], byte[]>, Tuple2<byte[], byte[]>> {
        private transient MapState<Long, Long> counts; // by start of the window

        @Override
        public void open(OpenContext context) {
            counts = getRuntimeContext().getMapState(new MapStateDescriptor<>("windows", Types.LONG, Types.LONG));
        }

        @Override
        public void processElement(Tuple2<byte[], byte[]> record, Context context, Collector<Tuple2<byte[], byte[]>> out) throws Exception {
            long start = Math.floorDiv(context.timestamp(), WINDOW_MS) * WINDOW_MS;
            long end = start + WINDOW_MS - 1;
            if (end <= context.timerService().currentWatermark()) {
                return; // late
            }
            Long before = counts.get(start);
            if (before == null) {
                context.timerService().registerEventTimeTimer(end);
            }
            long n = before == null ? 1 : before + 1;
            counts.put(start, n);
            byte[] key = bytes(context.getCurrentKey());
            out.collect(Tuple2.of(ByteBuffer.allocate(key.length + 8).put(key).putLong(start).array(), bytes(n)));
        }

        @Override
        public void onTimer(long end, OnTimerContext context, Collector<Tuple2<byte[], byte[]>> out) throws Exception {
            counts.remove(end - WINDOW_MS + 1);
        }
    }

    private static DataStream<Tuple2<byte[], byte[]>> topology(String workload, StreamExecutionEnvironment env,
            KafkaSource<Tuple2<byte[], byte[]>> source) {
        WatermarkStrategy<Tuple2<byte[], byte[]>> times = workload.equals("window")
            ? WatermarkStrategy.forMonotonousTimestamps() : WatermarkStrategy.noWatermarks();
        var records = env.fromSource(source, times, "in");
        KeySelector<Tuple2<byte[], byte[]>, String> key = record -> string(record.f0);
        return switch (workload) {
            case "pass" -> records.map(record -> Tuple2.of(record.f0, upperFirst(record.f1))).returns(RECORD);
            case "count" -> records.keyBy(key, Types.STRING).process(new Count(), RECORD);
            case "window" -> records.keyBy(key, Types.STRING).process(new Windows(), RECORD);
            case "rekey" -> records.keyBy(record -> group(record.f0), Types.STRING).process(new Count(), RECORD);
            default -> throw new IllegalArgumentException("there is no workload " + workload);
        };
    }

    /** Those arguments that begin with prefix. */
    private static Properties client(Map<String, String> a, String prefix) {
        var p = new Properties();
        a.forEach((name, value) -> {
            if (name.startsWith(prefix)) {
                p.setProperty(name.substring(prefix.length()), value);
            }
        });
        return p;
    }

    private static Configuration flink(Map<String, String> a) throws Exception {
        Path state = Files.createDirectories(Path.of(a.get("state")).toAbsolutePath());
        var c = new HashMap<String, String>();
        c.put("parallelism.default", a.get("lanes"));
        c.put("taskmanager.numberOfTaskSlots", a.get("lanes"));
        // Beside the heap. What a task manager of Flink's default size has; a local cluster would have 128 MiB for RocksDB.
        c.put("taskmanager.memory.managed.size", "512m");
        c.put("taskmanager.memory.network.min", "128m");
        c.put("taskmanager.memory.network.max", "128m");
        c.put("state.backend.type", "rocksdb");
        c.put("state.backend.rocksdb.localdir", state.resolve("rocksdb").toString());
        c.put("io.tmp.dirs", Files.createDirectories(state.resolve("tmp")).toString());
        c.put("execution.checkpointing.interval", a.getOrDefault("interval", "1000") + " ms");
        c.put("execution.checkpointing.incremental", "true");
        c.put("execution.checkpointing.storage", "filesystem");
        c.put("execution.checkpointing.dir", state.resolve("checkpoints").toUri().toString());
        c.put("restart-strategy.type", "disable"); // a failure ends the run
        c.put("rest.bind-address", "127.0.0.1");
        c.put("rest.bind-port", "0");
        a.forEach((name, value) -> {
            if (name.contains(".") && !name.startsWith("producer.") && !name.startsWith("consumer.")) {
                c.put(name, value);
            }
        });
        return Configuration.fromMap(c);
    }

    public static void main(String[] args) throws Exception {
        var a = new HashMap<String, String>();
        Arrays.stream(args).map(s -> s.split("=", 2)).forEach(s -> a.put(s[0], s[1]));
        var progress = Noting.progress;
        long idle = Long.parseLong(a.getOrDefault("idle", "0"));
        long records = Long.parseLong(a.getOrDefault("records", "0"));

        var config = flink(a);
        var env = StreamExecutionEnvironment.getExecutionEnvironment(config);
        var source = KafkaSource.<Tuple2<byte[], byte[]>>builder()
            .setBootstrapServers(a.get("brokers")).setTopics(a.get("in")).setGroupId(a.get("app"))
            .setStartingOffsets(OffsetsInitializer.earliest()).setDeserializer(new Deserializer())
            .setProperty("isolation.level", "read_committed").setProperties(client(a, "consumer.")).build();
        var sink = KafkaSink.<Tuple2<byte[], byte[]>>builder()
            .setBootstrapServers(a.get("brokers")).setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(a.get("app")).setRecordSerializer(new Serializer(a.get("out")))
            .setProperty("transaction.timeout.ms", "900000") // the most that a broker allows by default; Flink's own is an hour
            .setKafkaProducerConfig(client(a, "producer.")).build();
        topology(a.get("workload"), env, source).sinkTo(new Noting<>(sink)).name("out");

        var cluster = new MiniCluster(new MiniClusterConfiguration.Builder().setConfiguration(config).setNumTaskManagers(1)
            .setNumSlotsPerTaskManager(Integer.parseInt(a.get("lanes"))).build());
        var end = new CountDownLatch(1);
        // At SIGTERM the JVM waits for this hook; the main thread ends the process when it has closed everything.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            end.countDown();
            while (true) {
                java.util.concurrent.locks.LockSupport.park();
            }
        }));
        cluster.start();
        var job = env.getStreamGraph().getJobGraph();
        cluster.submitJob(job).get();
        var result = cluster.requestJobResult(job.getJobID());
        for (boolean asked = false; !end.await(10, TimeUnit.MILLISECONDS) && !(idle > 0 && progress.over(records, idle * 1_000_000));) {
            if (result.isDone()) {
                result.get().getSerializedThrowable().ifPresent(Throwable::printStackTrace);
                Runtime.getRuntime().halt(1);
            }
            if (!asked && records > 0 && progress.written() >= records) {
                asked = true;
                cluster.triggerCheckpoint(job.getJobID());
            }
        }
        cluster.cancelJob(job.getJobID()).get(30, TimeUnit.SECONDS);
        result.get(30, TimeUnit.SECONDS);
        cluster.closeAsync().get(30, TimeUnit.SECONDS);
        System.out.println(progress.line());
        System.out.flush();
        Runtime.getRuntime().halt(0); // after SIGTERM, else, it would be 143
    }
}
