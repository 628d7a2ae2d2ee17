/* descriptors.c - walks descriptor.proto's messages by field number. */
#include "serve/grpc/descriptors.h"

#include "wire/proto/pb.h"

/* Fields of google.protobuf.FileDescriptorProto, DescriptorProto, and the others' name. */
enum {
    NAME = 1,
    FILE_PACKAGE = 2,
    FILE_IMPORT = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    FILE_EXTENSION = 7,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    MESSAGE_EXTENSION = 6,
    MESSAGE_ONEOF = 8,
    ENUM_VALUE = 2,
    SERVICE_METHOD = 2,
};

/* The i-th field of that number that has bytes. */
static bool nth(struct bytes message, uint32_t number, size_t i, struct bytes *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    while (reader_left(&r) && pb_next(&r, &f))
        if (f.number == number && f.wire == PB_BYTES && i-- == 0) {
            *ret = f.bytes;
            return true;
        }
    return false;
}

/* Whether `symbol` is the name of the message, or goes on behind it and a dot: then *ret_rest. */
static bool names(struct bytes message, struct bytes symbol, struct bytes *ret_rest)
{
    struct bytes name;
    *ret_rest = BYTES_EMPTY;
    if (!nth(message, NAME, 0, &name) || !bytes_has_prefix(symbol, name))
        return false;
    if (symbol.len == name.len)
        return true;
    *ret_rest = BYTES(symbol.data + name.len + 1, symbol.len - name.len - 1);
    return symbol.data[name.len] == '.' && ret_rest->len > 0;
}

static bool has_leaf(struct bytes parent, uint32_t number, struct bytes symbol)
{
    struct bytes child, rest;
    for (size_t i = 0; nth(parent, number, i, &child); i++)
        if (names(child, symbol, &rest) && rest.len == 0)
            return true;
    return false;
}

/* An enum's values are its siblings, by the rules of C++. */
static bool enum_has(struct bytes parent, uint32_t number, struct bytes symbol)
{
    struct bytes child;
    for (size_t i = 0; nth(parent, number, i, &child); i++)
        if (has_leaf(child, ENUM_VALUE, symbol))
            return true;
    return has_leaf(parent, number, symbol);
}

static bool message_has(struct bytes message, struct bytes symbol)
{
    struct bytes child, rest;
    for (size_t i = 0; nth(message, MESSAGE_NESTED, i, &child); i++)
        if (names(child, symbol, &rest) && (rest.len == 0 || message_has(child, rest)))
            return true;
    return has_leaf(message, MESSAGE_FIELD, symbol) || has_leaf(message, MESSAGE_ONEOF, symbol) ||
           has_leaf(message, MESSAGE_EXTENSION, symbol) || enum_has(message, MESSAGE_ENUM, symbol);
}

static bool file_has(const struct descriptor_file *f, struct bytes symbol)
{
    struct bytes child, rest;
    if (f->package.len) {
        if (!bytes_has_prefix(symbol, f->package) || symbol.len <= f->package.len + 1 ||
            symbol.data[f->package.len] != '.')
            return false;
        symbol = BYTES(symbol.data + f->package.len + 1, symbol.len - f->package.len - 1);
    }
    for (size_t i = 0; nth(f->content, FILE_MESSAGE, i, &child); i++)
        if (names(child, symbol, &rest) && (rest.len == 0 || message_has(child, rest)))
            return true;
    for (size_t i = 0; nth(f->content, FILE_SERVICE, i, &child); i++)
        if (names(child, symbol, &rest) && (rest.len == 0 || has_leaf(child, SERVICE_METHOD, rest)))
            return true;
    return enum_has(f->content, FILE_ENUM, symbol) || has_leaf(f->content, FILE_EXTENSION, symbol);
}

bool descriptors_load(struct descriptors *d, struct bytes set)
{
    struct reader r = reader_of(set);
    d->n = 0;
    while (reader_left(&r)) {
        struct pb_field f;
        struct descriptor_file *file = &d->files[d->n];
        if (!pb_next(&r, &f) || f.number != 1 || f.wire != PB_BYTES || d->n == DESCRIPTORS_MAX)
            return false;
        *file = (struct descriptor_file){.package = BYTES_EMPTY, .content = f.bytes};
        if (!nth(f.bytes, NAME, 0, &file->name))
            return false;
        (void)nth(f.bytes, FILE_PACKAGE, 0, &file->package);
        d->n++;
    }
    return d->n > 0;
}

const struct descriptor_file *descriptors_by_name(const struct descriptors *d, struct bytes name)
{
    for (size_t i = 0; i < d->n; i++)
        if (bytes_eq(d->files[i].name, name))
            return &d->files[i];
    return NULL;
}

const struct descriptor_file *descriptors_by_symbol(const struct descriptors *d,
                                                    struct bytes symbol)
{
    for (size_t i = 0; i < d->n; i++)
        if (file_has(&d->files[i], symbol))
            return &d->files[i];
    return NULL;
}

bool descriptors_import(const struct descriptor_file *f, size_t i, struct bytes *ret)
{
    return nth(f->content, FILE_IMPORT, i, ret);
}

bool descriptors_service(const struct descriptor_file *f, size_t i, struct bytes *ret)
{
    struct bytes service;
    return nth(f->content, FILE_SERVICE, i, &service) && nth(service, NAME, 0, ret);
}
