/* Routing: XXH64 of random keys to a slot (its top 16 bits), the slot to one of R ranges of equal
 * width found by binary search over their bounds; the ranges' numbers are summed. Usage:
 * bench_route [million keys] [ranges] */
#include "base/hash.h"
#include "bench/bench_util.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    uint64_t n = bench_arg(argc, argv, 1, 20) * 1000000, ranges = bench_arg(argc, argv, 2, 1000);
    bench_machine("bench_route: key -> XXH64 -> slot -> range");
    uint32_t *bounds = malloc(ranges * sizeof(*bounds));
    uint8_t(*keys)[BENCH_KEY] = malloc(sizeof(*keys) * 65536);
    if (!bounds || !keys || ranges == 0)
        bench_die("no memory, or no ranges");
    for (uint64_t i = 0; i < ranges; i++)
        bounds[i] = (uint32_t)(i * 65536 / ranges);
    for (uint64_t i = 0; i < 65536; i++)
        bench_key(i, keys[i]);
    uint64_t sum = 0, state = 1, t0 = bench_ns();
    for (uint64_t i = 0; i < n; i++) {
        uint32_t slot = (uint32_t)(hash_xxh64(keys[bench_rnd(&state) & 65535], BENCH_KEY, 0) >> 48);
        uint64_t lo = 0, hi = ranges;
        while (hi - lo > 1) {
            uint64_t mid = (lo + hi) / 2;
            if (bounds[mid] <= slot)
                lo = mid;
            else
                hi = mid;
        }
        sum += lo;
    }
    bench_rate("random keys routed", n, bench_ns() - t0);
    bench_checksum(sum);
    free(bounds);
    free(keys);
    return 0;
}
