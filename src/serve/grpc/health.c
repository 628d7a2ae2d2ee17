/* health.c - grpc.health.v1. The server as a whole and each of its services stand alike. */
#include "serve/grpc/door_internal.h"

enum { LOOK_NS = 1000 * 1000 * 1000 };

typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving;
#define SERVING(what) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##what

static bool is_served(struct call *c, const char *service)
{
    static const struct service *const served[] = {&door__kv, &door__changes, &door__admin,
                                                   &door__health};
    (void)c;
    if (!service[0])
        return true;
    for (size_t i = 0; i < sizeof served / sizeof served[0]; i++)
        if (strcmp(service, served[i]->name) == 0)
            return true;
    return false;
}

static serving state(struct call *c)
{
    const struct grpc_door *d = c->door;
    bool stopping = request_stop(call_request(c)) == ST_CLOSED;
    return !stopping && (!d->ready || d->ready(d->ready_arg)) ? SERVING(SERVING)
                                                              : SERVING(NOT_SERVING);
}

static enum status check(struct call *c, const void *request)
{
    const Grpc__Health__V1__HealthCheckRequest *m = request;
    Grpc__Health__V1__HealthCheckResponse answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    if (!is_served(c, m->service))
        return err_set(&c->err, ST_NOT_FOUND, "there is no service %s", m->service);
    answer.status = state(c);
    return call_respond(c, &answer.base);
}

static enum status watch(struct call *c, const void *request)
{
    const Grpc__Health__V1__HealthCheckRequest *m = request;
    Grpc__Health__V1__HealthCheckResponse answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    bool served = is_served(c, m->service), first = true;
    enum status stop = ST_OK;
    for (;;) {
        serving now = served ? state(c) : SERVING(SERVICE_UNKNOWN);
        if (first || now != answer.status) {
            answer.status = now;
            enum status st = call_send(c, &answer.base);
            if (st != ST_OK)
                return st;
        }
        first = false;
        if (stop != ST_OK)
            return stop;
        stop = request_sleep(call_request(c), LOOK_NS);
    }
}

#define HEALTH "grpc.health.v1.Health"
static const struct method methods[] = {
    {"Check", HEALTH "/Check", &grpc__health__v1__health_check_request__descriptor, check, 0, false,
     NULL},
    {"Watch", HEALTH "/Watch", &grpc__health__v1__health_check_request__descriptor, watch, 0, false,
     NULL},
};
const struct service door__health = {HEALTH, methods, sizeof methods / sizeof methods[0]};
