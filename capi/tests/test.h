// Helpers for the tests: checks that end the program, and waiting for events of another thread.
#ifndef TEST_H
#define TEST_H

#define _POSIX_C_SOURCE 200809L

#include "../examples/c/common.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) ((condition) ? (void)0 : failed(__FILE__, __LINE__, #condition))

static inline void failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    exit(EXIT_FAILURE);
}

#define EXPECT(code, call) expect(code, call, &error, __FILE__, __LINE__, #call)

// Checks that the call fails with this code, both returned and in its error.
static inline void expect(gossip_result code, gossip_result result, gossip_error **error, const char *file, int line,
                          const char *what)
{
    if (result != code) {
        fprintf(stderr, "%s:%d: %s instead of %s: %s\n", file, line, gossip_result_name(result).data,
                gossip_result_name(code).data, gossip_error_message(*error).data);
        failed(file, line, what);
    }
    if (gossip_error_code(*error) != code || (code != GOSSIP_OK && gossip_error_message(*error).len == 0))
        failed(file, line, what);
    gossip_error_free(*error);
    *error = NULL;
}

// Counts events, and lets a thread wait for them.
struct counter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned count;
};

#define COUNTER {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

static inline void count_up(struct counter *counter)
{
    pthread_mutex_lock(&counter->lock);
    counter->count++;
    pthread_cond_broadcast(&counter->changed);
    pthread_mutex_unlock(&counter->lock);
}

static inline unsigned counted(struct counter *counter)
{
    pthread_mutex_lock(&counter->lock);
    unsigned count = counter->count;
    pthread_mutex_unlock(&counter->lock);
    return count;
}

#define AWAIT(counter, wanted) await(counter, wanted, __FILE__, __LINE__)

// A minute allows for machines under load and for Valgrind; passing it is a failure.
static inline void await(struct counter *counter, unsigned wanted, const char *file, int line)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&counter->lock);
    int waited = 0;
    while (counter->count < wanted && waited == 0)
        waited = pthread_cond_timedwait(&counter->changed, &counter->lock, &until);
    unsigned count = counter->count;
    pthread_mutex_unlock(&counter->lock);
    if (count < wanted) {
        fprintf(stderr, "%s:%d: %u of %u in a minute\n", file, line, count, wanted);
        exit(EXIT_FAILURE);
    }
}

// A gossip_free_callback for a counter.
static inline void count_free(void *counter)
{
    count_up(counter);
}

static inline pthread_t start_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, argument) == 0);
    return thread;
}

static inline gossip_comm *start_comm(const gossip_crypto *crypto, const char *dir, int peer)
{
    gossip_error *error = NULL;
    gossip_comm *comm = NULL;
    gossip_config *config = load_config(dir, 1, peer, 1);
    check(gossip_comm_start(crypto, config, &comm, &error), &error);
    gossip_config_free(config);
    return comm;
}

// A comm of a peer of Org1.
static inline gossip_comm *start_peer(const char *dir, int peer)
{
    gossip_crypto *crypto = load_crypto(dir, 1, peer);
    gossip_comm *comm = start_comm(crypto, dir, peer);
    gossip_crypto_free(crypto);
    return comm;
}

static inline gossip_peer peer_at(const gossip_comm *comm)
{
    return (gossip_peer){.endpoint = gossip_comm_local_addr(comm).data};
}

static inline gossip_message *new_block(uint64_t number, size_t size)
{
    gossip_error *error = NULL;
    gossip_message *message = NULL;
    uint8_t *data = calloc(1, size + 1);
    CHECK(data != NULL);
    check(gossip_message_new_data("mychannel", number, data, size, &message, &error), &error);
    free(data);
    return message;
}

static inline gossip_subscription *subscribe(const gossip_comm *comm)
{
    gossip_error *error = NULL;
    gossip_subscription *subscription = NULL;
    check(gossip_comm_accept(comm, NULL, NULL, NULL, NULL, &subscription, &error), &error);
    return subscription;
}

static inline gossip_event *receive(const gossip_subscription *subscription)
{
    gossip_error *error = NULL;
    gossip_event *event = NULL;
    check(gossip_subscription_recv(subscription, 2 * PATIENCE, &event, &error), &error);
    return event;
}

static inline void send_block(const gossip_comm *comm, const gossip_peer *peer, uint64_t number)
{
    gossip_error *error = NULL;
    gossip_message *message = new_block(number, 10);
    check(gossip_comm_send(comm, message, peer, 1, &error), &error);
    gossip_message_free(message);
}

static inline void stop(const gossip_comm *comm)
{
    gossip_error *error = NULL;
    check(gossip_comm_stop(comm, 0, &error), &error);
}

#endif
