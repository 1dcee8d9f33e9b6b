import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;

import org.apache.flink.api.connector.sink2.Committer;
import org.apache.flink.api.connector.sink2.CommitterInitContext;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.connector.kafka.sink.KafkaCommittable;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.KafkaWriterState;
import org.apache.flink.connector.kafka.sink.TwoPhaseCommittingStatefulSink;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.streaming.api.connector.sink2.CommittableMessage;
import org.apache.flink.streaming.api.connector.sink2.SupportsPostCommitTopology;
import org.apache.flink.streaming.api.datastream.DataStream;

/**
 * Flink's own Kafka sink, which also tells what its transactions committed. Each workload writes one record for each that
 * it reads, so records of the output count those of the input.
 */
final class Noting<T> implements TwoPhaseCommittingStatefulSink<T, KafkaWriterState, KafkaCommittable>,
        SupportsPostCommitTopology<KafkaCommittable> {

    /** Of all subtasks. They run in this JVM, and a sink reaches them as a copy, so what they share is static. */
    static final Progress progress = new Progress();

    static final class Progress {
        private final List<AtomicLong> written = new CopyOnWriteArrayList<>(); // by each writer, committed or not
        private final Map<String, Long> prepared = new ConcurrentHashMap<>(); // records by id of their transaction
        private long records, commits, aborts, first, last;

        synchronized void began() {
            if (first == 0) {
                first = System.nanoTime();
            }
        }

        synchronized void committed(KafkaCommittable transaction) {
            records += prepared.remove(transaction.getTransactionalId());
            commits++;
            last = System.nanoTime();
        }

        synchronized void failed() {
            aborts++;
        }

        long written() {
            return written.stream().mapToLong(AtomicLong::get).sum();
        }

        synchronized boolean over(long wanted, long idleNanos) {
            return records >= wanted && last != 0 && System.nanoTime() - last > idleNanos;
        }

        synchronized String line() throws IOException {
            var os = (com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean();
            return String.format(java.util.Locale.ROOT,
                "{\"records\":%d,\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"max_rss_bytes\":%d,\"commits\":%d,\"aborts\":%d}",
                records, (last - first) / 1e9, os.getProcessCpuTime() / 1e9, peakRss(), commits, aborts);
        }

        private static long peakRss() throws IOException {
            for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
                if (line.startsWith("VmHWM:")) {
                    return Long.parseLong(line.replaceAll("[^0-9]", "")) << 10;
                }
            }
            return 0;
        }
    }

    private final KafkaSink<T> kafka;

    Noting(KafkaSink<T> kafka) {
        this.kafka = kafka;
    }

    private static final class Writer<T> implements PrecommittingStatefulSinkWriter<T, KafkaWriterState, KafkaCommittable> {
        private final PrecommittingStatefulSinkWriter<T, KafkaWriterState, KafkaCommittable> kafka;
        private final AtomicLong written = new AtomicLong(); // by this thread alone
        private long prepared;

        Writer(PrecommittingStatefulSinkWriter<T, KafkaWriterState, KafkaCommittable> kafka) {
            this.kafka = kafka;
            progress.written.add(written);
        }

        @Override
        public void write(T element, Context context) throws IOException, InterruptedException {
            if (written.getPlain() == 0) {
                progress.began();
            }
            kafka.write(element, context);
            written.lazySet(written.getPlain() + 1);
        }

        @Override
        public void flush(boolean endOfInput) throws IOException, InterruptedException {
            kafka.flush(endOfInput);
        }

        @Override
        public void writeWatermark(Watermark watermark) throws IOException, InterruptedException {
            kafka.writeWatermark(watermark);
        }

        @Override
        public Collection<KafkaCommittable> prepareCommit() throws IOException, InterruptedException {
            var transactions = kafka.prepareCommit(); // one, or none without records
            for (var transaction : transactions) {
                progress.prepared.put(transaction.getTransactionalId(), written.getPlain() - prepared);
                prepared = written.getPlain();
            }
            return transactions;
        }

        @Override
        public List<KafkaWriterState> snapshotState(long checkpoint) throws IOException {
            return kafka.snapshotState(checkpoint);
        }

        @Override
        public void close() throws Exception {
            kafka.close();
        }
    }

    /** A request to commit, which remembers whether that was done. */
    private static final class Request implements Committer.CommitRequest<KafkaCommittable> {
        private final Committer.CommitRequest<KafkaCommittable> flink;
        private boolean failed;

        Request(Committer.CommitRequest<KafkaCommittable> flink) {
            this.flink = flink;
        }

        @Override
        public KafkaCommittable getCommittable() {
            return flink.getCommittable();
        }

        @Override
        public int getNumberOfRetries() {
            return flink.getNumberOfRetries();
        }

        @Override
        public void signalFailedWithKnownReason(Throwable reason) {
            failed = true;
            flink.signalFailedWithKnownReason(reason);
        }

        @Override
        public void signalFailedWithUnknownReason(Throwable reason) {
            failed = true;
            flink.signalFailedWithUnknownReason(reason);
        }

        @Override
        public void retryLater() {
            failed = true;
            flink.retryLater();
        }

        @Override
        public void updateAndRetryLater(KafkaCommittable transaction) {
            failed = true;
            flink.updateAndRetryLater(transaction);
        }

        @Override
        public void signalAlreadyCommitted() {
            flink.signalAlreadyCommitted();
        }
    }

    private record Commits(Committer<KafkaCommittable> kafka) implements Committer<KafkaCommittable> {
        @Override
        public void commit(Collection<CommitRequest<KafkaCommittable>> requests) throws IOException, InterruptedException {
            for (var flink : requests) {
                var request = new Request(flink);
                kafka.commit(List.of(request));
                if (request.failed) {
                    progress.failed();
                } else {
                    progress.committed(request.getCommittable());
                }
            }
        }

        @Override
        public void close() throws Exception {
            kafka.close();
        }
    }

    @Override
    public PrecommittingStatefulSinkWriter<T, KafkaWriterState, KafkaCommittable> createWriter(WriterInitContext context) throws IOException {
        return restoreWriter(context, List.of());
    }

    @Override
    public PrecommittingStatefulSinkWriter<T, KafkaWriterState, KafkaCommittable> restoreWriter(WriterInitContext context,
            Collection<KafkaWriterState> state) throws IOException {
        TwoPhaseCommittingStatefulSink<T, KafkaWriterState, KafkaCommittable> sink = kafka; // KafkaSink's own type is not public
        return new Writer<>(sink.restoreWriter(context, state));
    }

    @Override
    public Committer<KafkaCommittable> createCommitter(CommitterInitContext context) {
        return new Commits(kafka.createCommitter(context));
    }

    @Override
    public SimpleVersionedSerializer<KafkaCommittable> getCommittableSerializer() {
        return kafka.getCommittableSerializer();
    }

    @Override
    public SimpleVersionedSerializer<KafkaWriterState> getWriterStateSerializer() {
        return kafka.getWriterStateSerializer();
    }

    @Override
    public void addPostCommitTopology(DataStream<CommittableMessage<KafkaCommittable>> committed) {
        kafka.addPostCommitTopology(committed);
    }
}
