/* fake_server.c - one connection at a time, one request after the other. */
#include "tests/unit/client/fake_server.h"

#include "tests/support/cmocka.h"

#include "wire/grpc/grpc.h"
#include "wire/proto/pb.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct serving {
    struct fake_counts *counts;
    struct h2_conn *h2;
    int fd;
    bool cut;
};

struct scall {
    struct grpc_call grpc;
    struct serving *s;
};

static uint64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- failures with details ---- */

static Google__Protobuf__Any *any_of(struct arena *a, const char *type, const ProtobufCMessage *m)
{
    Google__Protobuf__Any *any = arena_alloc(a, sizeof *any);
    google__protobuf__any__init(any);
    any->type_url = (char *)(uintptr_t)type;
    any->value.len = protobuf_c_message_get_packed_size(m);
    any->value.data = arena_alloc(a, any->value.len + 1);
    protobuf_c_message_pack(m, any->value.data);
    return any;
}

static void finish(struct scall *c, enum grpc_code code, const char *reason, long retry_ms,
                   const char *present, const char *field)
{
    struct arena a;
    struct buf details = BUF_INIT;
    Google__Protobuf__Any *list[3];
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Rpc__ErrorInfo__MetadataEntry entry = GOOGLE__RPC__ERROR_INFO__METADATA_ENTRY__INIT;
    Google__Rpc__ErrorInfo__MetadataEntry *entries[1] = {&entry};
    Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;
    Google__Rpc__BadRequest__FieldViolation violation =
        GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT;
    Google__Rpc__BadRequest__FieldViolation *violations[1] = {&violation};
    struct grpc_finish f = {.code = code, .message = BYTES_LIT("so it was said")};
    arena_init(&a, 0);
    status.details = list;
    if (reason && strcmp(reason, "-") != 0) {
        info.domain = (char *)(uintptr_t) "varve";
        info.reason = (char *)(uintptr_t)reason;
        if (present) {
            entry.key = (char *)(uintptr_t) "present_version";
            entry.value = (char *)(uintptr_t)present;
            info.metadata = entries;
            info.n_metadata = 1;
        }
        list[status.n_details++] =
            any_of(&a, "type.googleapis.com/google.rpc.ErrorInfo", &info.base);
    }
    if (retry_ms > 0) {
        delay.nanos = (int32_t)retry_ms * 1000000;
        retry.retry_delay = &delay;
        list[status.n_details++] =
            any_of(&a, "type.googleapis.com/google.rpc.RetryInfo", &retry.base);
    }
    if (field) {
        violation.field = (char *)(uintptr_t)field;
        bad.field_violations = violations;
        bad.n_field_violations = 1;
        list[status.n_details++] =
            any_of(&a, "type.googleapis.com/google.rpc.BadRequest", &bad.base);
    }
    if (status.n_details && pb_encode(&status.base, &details) == ST_OK)
        f.details = buf_bytes(&details);
    (void)!grpc_finish(&c->grpc, &f);
    buf_deinit(&details);
    arena_deinit(&a);
}

static void answer(struct scall *c, struct bytes text)
{
    (void)!grpc_send(&c->grpc, text, false);
    (void)!grpc_finish(&c->grpc, &(struct grpc_finish){.code = GRPC_OK});
}

/* ---- what a request asks for ---- */

static void who(struct scall *c)
{
    struct bytes v;
    answer(c, h2_header(c->grpc.stream, BYTES_LIT("authorization"), &v) ? v : BYTES_LIT("nobody"));
}

static void many(struct scall *c, long n)
{
    char text[24];
    for (long i = 0; i < n; i++) {
        int len = snprintf(text, sizeof text, "%ld", i);
        (void)!grpc_send(&c->grpc, BYTES(text, (size_t)len), false);
    }
    (void)!grpc_finish(&c->grpc, &(struct grpc_finish){.code = GRPC_OK});
}

static void counted(struct scall *c, const char *word)
{
    if (strcmp(word, "lose") == 0)
        c->s->cut = true;
    else if (strcmp(word, "refuse") == 0)
        h2_reset(c->grpc.stream, H2_REFUSED_STREAM);
    else if (strcmp(word, "busy") == 0)
        finish(c, GRPC_RESOURCE_EXHAUSTED, "OVERLOADED", 1, NULL, NULL);
    else
        finish(c, GRPC_UNAVAILABLE, "CLOSED", 1, NULL, NULL);
}

static void run(struct scall *c, struct bytes request)
{
    char text[200] = "", word[32] = "", reason[64] = "-";
    long number = 0, ms = 0;
    memcpy(text, request.data, request.len < sizeof text - 1 ? request.len : sizeof text - 1);
    (void)sscanf(text, "%31s %ld %63s %ld", word, &number, reason, &ms);
    atomic_fetch_add(&c->s->counts->requests, 1);
    if (strcmp(word, "echo") == 0) {
        answer(c, BYTES(request.data + 5, request.len - 5));
    } else if (strcmp(word, "many") == 0) {
        many(c, number);
    } else if (strcmp(word, "who") == 0) {
        who(c);
    } else if (strcmp(word, "fail") == 0) {
        finish(c, (enum grpc_code)number, reason, ms, NULL, NULL);
    } else if (strcmp(word, "changed") == 0) {
        finish(c, GRPC_FAILED_PRECONDITION, "PRECONDITION_FAILED", 0, "00000000000000a1", NULL);
    } else if (strcmp(word, "field") == 0) {
        finish(c, GRPC_INVALID_ARGUMENT, "TOO_LARGE", 0, NULL, "options.writer");
    } else if (strcmp(word, "half") == 0) {
        (void)!grpc_send(&c->grpc, BYTES_LIT("half"), false);
        c->s->cut = true;
    } else if (strcmp(word, "silent") != 0) {
        if (atomic_fetch_add(&c->s->counts->counted, 1) < number)
            counted(c, word);
        else
            answer(c, BYTES_LIT("late"));
    }
}

/* ---- HTTP/2 ---- */

static void on_headers(void *arg, struct h2_stream *stream, bool end)
{
    struct scall *c = calloc(1, sizeof *c);
    struct err e;
    (void)end;
    c->s = arg;
    h2_set_user(stream, c);
    if (grpc_accept(&c->grpc, stream, NULL, &e) != ST_OK)
        _exit(3);
}
static void on_data(void *arg, struct h2_stream *stream, struct bytes data)
{
    (void)arg;
    grpc_on_data(&((struct scall *)h2_user(stream))->grpc, data);
}
static void on_end(void *arg, struct h2_stream *stream)
{
    struct scall *c = h2_user(stream);
    struct bytes m;
    struct err e;
    (void)arg;
    grpc_on_end(&c->grpc);
    if (grpc_next(&c->grpc, &m, &e) == GRPC_MESSAGE)
        run(c, m);
}
static void on_closed(void *arg, struct h2_stream *stream, uint32_t code)
{
    struct scall *c = h2_user(stream);
    (void)arg;
    grpc_on_closed(&c->grpc, code);
    grpc_deinit(&c->grpc);
    free(c);
}
static const struct h2_events events = {
    .headers = on_headers, .data = on_data, .end = on_end, .closed = on_closed};

static void flush(struct serving *s)
{
    struct bytes out;
    while (h2_output(s->h2, &out) == ST_OK && out.len) {
        ssize_t n = send(s->fd, out.data, out.len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        h2_output_done(s->h2, (size_t)n);
    }
}

static void serve(struct serving *s)
{
    static uint8_t in[65536];
    ssize_t n;
    if (h2_server_new(NULL, &events, s, clock_ms(), &s->h2) != ST_OK)
        _exit(4);
    flush(s);
    while (!s->cut && (n = recv(s->fd, in, sizeof in, 0)) > 0) {
        if (h2_recv(s->h2, BYTES(in, (size_t)n), clock_ms(), NULL) != ST_OK)
            break;
        flush(s);
    }
    h2_conn_free(s->h2);
    close(s->fd);
}

void fake_start(struct fake *f)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 64), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    snprintf(f->address, sizeof f->address, "127.0.0.1:%u", ntohs(at.sin_port));
    f->counts =
        mmap(NULL, sizeof *f->counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(f->counts, MAP_FAILED);
    f->pid = fork();
    assert_true(f->pid >= 0);
    if (f->pid == 0) {
        for (;;) {
            struct serving s = {.counts = f->counts, .fd = accept(listener, NULL, NULL)};
            if (s.fd < 0)
                _exit(2);
            atomic_fetch_add(&f->counts->connections, 1);
            serve(&s);
        }
    }
    close(listener);
}

void fake_stop(struct fake *f)
{
    kill(f->pid, SIGKILL);
    waitpid(f->pid, NULL, 0);
    munmap(f->counts, sizeof *f->counts);
}

void fake_forget(struct fake *f)
{
    atomic_store(&f->counts->requests, 0);
    atomic_store(&f->counts->connections, 0);
    atomic_store(&f->counts->counted, 0);
}
