/* pb_encode.c - packing by protobuf-c. */
#include "wire/proto/pb.h"

enum status pb_encode(const ProtobufCMessage *m, struct buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    enum status st = buf_reserve(out, n);
    if (st != ST_OK || n == 0)
        return st;
    out->len += protobuf_c_message_pack(m, out->data + out->len);
    return ST_OK;
}
