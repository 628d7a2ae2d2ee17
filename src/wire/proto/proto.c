/* proto.c - the descriptors that the build embeds. */
#include "wire/proto/proto.h"

extern const unsigned char proto__contracts[];
extern const unsigned long proto__contracts_len;

struct bytes proto_descriptors(void)
{
    return BYTES(proto__contracts, proto__contracts_len);
}
