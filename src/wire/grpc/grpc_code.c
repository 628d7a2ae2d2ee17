/* grpc_code.c - gRPC's status codes and what stands for them elsewhere. */
#include "wire/grpc/grpc_codec.h"
#include "wire/http2/http2.h"

const char *grpc_code_name(enum grpc_code code)
{
    static const char *const names[] = {"OK",
                                        "CANCELLED",
                                        "UNKNOWN",
                                        "INVALID_ARGUMENT",
                                        "DEADLINE_EXCEEDED",
                                        "NOT_FOUND",
                                        "ALREADY_EXISTS",
                                        "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED",
                                        "FAILED_PRECONDITION",
                                        "ABORTED",
                                        "OUT_OF_RANGE",
                                        "UNIMPLEMENTED",
                                        "INTERNAL",
                                        "UNAVAILABLE",
                                        "DATA_LOSS",
                                        "UNAUTHENTICATED"};
    return (unsigned)code < sizeof names / sizeof names[0] ? names[code] : "UNKNOWN";
}

enum status grpc_status_of(enum grpc_code code)
{
    switch (code) {
    case GRPC_OK:
        return ST_OK;
    case GRPC_CANCELLED:
        return ST_CANCELLED;
    case GRPC_INVALID_ARGUMENT:
        return ST_INVALID_ARGUMENT;
    case GRPC_DEADLINE_EXCEEDED:
        return ST_TIMED_OUT;
    case GRPC_NOT_FOUND:
        return ST_NOT_FOUND;
    case GRPC_ALREADY_EXISTS:
        return ST_ALREADY_EXISTS;
    case GRPC_PERMISSION_DENIED:
        return ST_PERMISSION_DENIED;
    case GRPC_UNAUTHENTICATED:
        return ST_UNAUTHENTICATED;
    case GRPC_RESOURCE_EXHAUSTED:
        return ST_OVERLOADED;
    case GRPC_FAILED_PRECONDITION:
    case GRPC_ABORTED:
        return ST_PRECONDITION_FAILED;
    case GRPC_OUT_OF_RANGE:
        return ST_BELOW_HORIZON;
    case GRPC_UNIMPLEMENTED:
        return ST_UNIMPLEMENTED;
    case GRPC_UNAVAILABLE:
        return ST_IO_ERROR;
    case GRPC_DATA_LOSS:
        return ST_CORRUPT;
    case GRPC_UNKNOWN:
    case GRPC_INTERNAL:
        break;
    }
    return ST_INTERNAL;
}

/* The table of gRPC's "HTTP to gRPC status code mapping". */
enum grpc_code grpc_code_of_http(unsigned http_status)
{
    switch (http_status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 431: /* ours, for a request whose headers are too large */
        return GRPC_RESOURCE_EXHAUSTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

enum grpc_code grpc_code_of_h2(uint32_t h2_code)
{
    switch (h2_code) {
    case H2_REFUSED_STREAM:
        return GRPC_UNAVAILABLE;
    case H2_CANCEL:
        return GRPC_CANCELLED;
    case H2_ENHANCE_YOUR_CALM:
        return GRPC_RESOURCE_EXHAUSTED;
    case H2_INADEQUATE_SECURITY:
        return GRPC_PERMISSION_DENIED;
    case H2_STREAM_CLOSED:
        return GRPC_UNKNOWN;
    default:
        return GRPC_INTERNAL;
    }
}

bool grpc_code_parse(struct bytes text, enum grpc_code *ret)
{
    unsigned n = 0;
    if (text.len == 0 || text.len > 9)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        n = n * 10 + (unsigned)(text.data[i] - '0');
    }
    *ret = n <= GRPC_UNAUTHENTICATED ? (enum grpc_code)n : GRPC_UNKNOWN;
    return true;
}
