// Runs pairs of peers over each transport, and over different ones.
#include "test.h"

static void acknowledge(void *user, const gossip_event *event)
{
    (void)user;
    if (event == NULL)
        return;
    gossip_error *error = NULL;
    check(gossip_event_ack(event, NULL, &error), &error);
}

// The configuration of a peer of Org1 over a transport.
static gossip_config *config_over(const char *dir, int peer, const char *transport)
{
    gossip_error *error = NULL;
    gossip_config *config = load_config(dir, 1, peer, 1);
    check(gossip_config_set_transport(config, transport, &error), &error);
    return config;
}

static gossip_comm *start_over(const char *dir, int peer, const char *transport)
{
    gossip_error *error = NULL;
    gossip_comm *comm = NULL;
    gossip_crypto *crypto = load_crypto(dir, 1, peer);
    gossip_config *config = config_over(dir, peer, transport);
    check(gossip_comm_start(crypto, config, &comm, &error), &error);
    gossip_config_free(config);
    gossip_crypto_free(crypto);
    return comm;
}

static void send_acknowledged(const gossip_comm *from, const gossip_comm *to, size_t size)
{
    gossip_error *error = NULL;
    gossip_peer peer = peer_at(to);
    gossip_message *message = new_block(1, size);
    size_t acks = 0;
    check(gossip_comm_send_with_ack(from, message, PATIENCE, 1, &peer, 1, &acks, &error), &error);
    CHECK(acks == 1);
    gossip_message_free(message);
}

// Sends messages both ways between two peers; the first one dials.
static void exchange(const char *dir, const char *dialler, const char *listener)
{
    gossip_error *error = NULL;
    gossip_comm *near = start_over(dir, 0, dialler), *far = start_over(dir, 1, listener);
    gossip_subscription *at_near = subscribe(near), *at_far = subscribe(far);
    check(gossip_subscription_set_callback(at_near, acknowledge, NULL, NULL, &error), &error);
    check(gossip_subscription_set_callback(at_far, acknowledge, NULL, NULL, &error), &error);
    for (size_t size = 1; size <= 1 << 20; size *= 32) {
        send_acknowledged(near, far, size);
        send_acknowledged(far, near, size);
    }
    stop(near);
    stop(far);
    gossip_subscription_free(at_near);
    gossip_subscription_free(at_far);
    gossip_comm_free(near);
    gossip_comm_free(far);
}

// The settings of one transport do not affect the other one.
static void check_settings(const char *dir)
{
    gossip_error *error = NULL;
    gossip_comm *comm = NULL;
    gossip_crypto *crypto = load_crypto(dir, 1, 0);
    gossip_config *config = config_over(dir, 0, "http2");
    check(gossip_config_set(config, "http2.stream_window", 1, &error), &error);
    EXPECT(GOSSIP_CONFIG, gossip_comm_start(crypto, config, &comm, &error));
    check(gossip_config_set_transport(config, "c-core", &error), &error);
    check(gossip_comm_start(crypto, config, &comm, &error), &error);
    stop(comm);
    gossip_comm_free(comm);
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_config_set_transport(config, "tcp", &error));
    gossip_config_free(config);
    gossip_crypto_free(crypto);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"http2", "c-core"};
    const char *dir = dir_argument(argc, argv);
    for (int dialler = 0; dialler < 2; dialler++)
        for (int listener = 0; listener < 2; listener++)
            exchange(dir, names[dialler], names[listener]);
    check_settings(dir);
    return 0;
}
