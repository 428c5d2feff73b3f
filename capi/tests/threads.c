// Handles used from many threads at the same time, and stopped and closed meanwhile.
#include "test.h"

enum { THREADS = 8, BLOCKS = 50 };

struct shared {
    gossip_comm *from, *to;
    gossip_subscription *inbox;
    gossip_crypto *crypto;
    const gossip_message *message;
    gossip_peer peer;
    pthread_mutex_t lock;
    size_t received;
};

// A stopped object returns GOSSIP_STOPPED; nothing else fails.
static bool goes_on(gossip_result result, gossip_error **error)
{
    if (result == GOSSIP_OK)
        return true;
    if (result != GOSSIP_STOPPED && result != GOSSIP_DISCONNECTED)
        fprintf(stderr, "%s\n", gossip_error_message(*error).data);
    CHECK(result == GOSSIP_STOPPED || result == GOSSIP_DISCONNECTED);
    gossip_error_free(*error);
    return false;
}

static void *send_and_look(void *argument)
{
    struct shared *shared = argument;
    gossip_error *error = NULL;
    for (int i = 0; i < BLOCKS; i++) {
        size_t acks = 0;
        gossip_connection_list *list = NULL;
        gossip_buffer *signature = NULL;
        gossip_bytes identity = gossip_crypto_identity(shared->crypto);
        if (!goes_on(gossip_comm_send_with_ack(shared->from, shared->message, 2 * PATIENCE, 1, &shared->peer, 1, &acks,
                                               &error),
                     &error))
            return NULL;
        CHECK(acks == 1);
        check(gossip_comm_connections(shared->from, &list, &error), &error);
        gossip_connection_list_free(list);
        check(gossip_crypto_sign(shared->crypto, (const uint8_t *)"data", 4, &signature, &error), &error);
        gossip_bytes bytes = gossip_buffer_bytes(signature);
        check(gossip_crypto_verify(shared->crypto, identity.data, identity.len, bytes.data, bytes.len,
                                   (const uint8_t *)"data", 4, &error),
              &error);
        gossip_buffer_free(signature);
        // Made at the first access, by any thread.
        CHECK(gossip_message_text(shared->message).len > 0 && gossip_message_wire(shared->message).len > 0);
        gossip_subscription_free(subscribe(shared->from));
    }
    return NULL;
}

static void *receive_and_ack(void *argument)
{
    struct shared *shared = argument;
    for (;;) {
        gossip_error *error = NULL;
        gossip_event *event = NULL;
        int fd = -1;
        check(gossip_subscription_fd(shared->inbox, &fd, &error), &error);
        if (!goes_on(gossip_subscription_recv(shared->inbox, GOSSIP_FOREVER, &event, &error), &error))
            return NULL;
        gossip_result result = gossip_event_ack(event, NULL, &error);
        gossip_event_free(event);
        if (!goes_on(result, &error))
            return NULL;
        pthread_mutex_lock(&shared->lock);
        shared->received++;
        pthread_mutex_unlock(&shared->lock);
    }
}

static void *stop_sender(void *argument)
{
    stop(((struct shared *)argument)->from);
    return NULL;
}

static void *close_inbox(void *argument)
{
    gossip_subscription_close(((struct shared *)argument)->inbox);
    return NULL;
}

// Runs all at the same time; with `stopping`, several threads stop them meanwhile.
static void all_at_once(const char *dir, bool stopping)
{
    gossip_message *message = new_block(1, 10);
    struct shared shared = {.from = start_peer(dir, 0),
                            .to = start_peer(dir, 1),
                            .crypto = load_crypto(dir, 1, 0),
                            .message = message,
                            .lock = PTHREAD_MUTEX_INITIALIZER};
    shared.inbox = subscribe(shared.to);
    shared.peer = peer_at(shared.to);
    pthread_t senders[THREADS], receivers[THREADS], stoppers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        senders[i] = start_thread(send_and_look, &shared);
        receivers[i] = start_thread(receive_and_ack, &shared);
    }
    for (int i = 0; stopping && i < THREADS; i++)
        stoppers[i] = start_thread(i % 2 == 0 ? stop_sender : close_inbox, &shared);
    for (int i = 0; stopping && i < THREADS; i++)
        pthread_join(stoppers[i], NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(senders[i], NULL);
    stop(shared.to);
    for (int i = 0; i < THREADS; i++)
        pthread_join(receivers[i], NULL);
    CHECK(stopping || shared.received == THREADS * BLOCKS);
    gossip_subscription_free(shared.inbox);
    gossip_comm_free(shared.from);
    gossip_comm_free(shared.to);
    gossip_crypto_free(shared.crypto);
    gossip_message_free(message);
}

int main(int argc, char **argv)
{
    const char *dir = dir_argument(argc, argv);
    all_at_once(dir, false);
    for (int i = 0; i < 5; i++)
        all_at_once(dir, true);
    return EXIT_SUCCESS;
}
