// Calls every function that can block or take a lock from every kind of callback, each with a limit of time; then stops
// and frees a node from each of them.
//
// gossip_verify_by_channel_callback is the exception: the library has no function that calls it.
#include "test.h"

#include <stdatomic.h>

// Seconds that one call may take, and the largest factor by which Valgrind slows a program down.
#ifdef SANITIZED
enum { LIMIT = 5 * 20 };
#else
enum { LIMIT = 5 };
#endif

// The timeout of calls that have one, and of the calls bounded by the settings of a comm.
#define SHORT (50 * GOSSIP_MILLISECOND)
#define BOUND (LIMIT * GOSSIP_SECOND / 8)

// The kinds of callbacks.
enum kind {
    SIGN,
    VERIFY,
    PKI_ID,
    VALIDATE,
    EXPIRATION,
    ORG,
    COMM_PREDICATE,
    COMM_CALLBACK,
    EVENT_CALLBACK,
    DEAD_CALLBACK,
    NODE_PREDICATE,
    NODE_CALLBACK,
    NOTICE_CALLBACK,
    VERIFIER,
    SUSPECT,
    FREE,
    LOG,
    KINDS
};

static const char *const NAMES[KINDS] = {
    "sign",           "verify",        "pki_id",          "validate_identity", "expiration", "org",
    "comm predicate", "comm callback", "event callback",  "dead callback",     "predicate",  "callback",
    "notice callback", "block verifier", "suspect",       "free",              "log",
};

// The node whose callbacks these are, its comm, and a node that it talks to.
static struct {
    const char *dir;
    gossip_node *node, *partner;
    gossip_comm *comm, *partner_comm;
    gossip_crypto *crypto, *member;
    gossip_peer peer;
    // The action of a callback, performed once for each kind.
    void (*act)(enum kind kind, const gossip_event *event);
    atomic_bool armed, begun[KINDS];
    struct counter ended[KINDS];
    struct counter freed_logs;
} world;

// The call that each kind of callback is in.
static struct {
    pthread_mutex_t lock;
    const char *call[KINDS];
    struct timespec since[KINDS];
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double seconds_since(const struct timespec *since)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - since->tv_sec) + (double)(now.tv_nsec - since->tv_nsec) / 1e9;
}

static void check_limits(void)
{
    pthread_mutex_lock(&watch.lock);
    for (int kind = 0; kind < KINDS; kind++) {
        if (watch.call[kind] == NULL || seconds_since(&watch.since[kind]) <= LIMIT)
            continue;
        fprintf(stderr, "called in the %s callback, this takes longer than %d s: %s\n", NAMES[kind], LIMIT,
                watch.call[kind]);
        _exit(EXIT_FAILURE);
    }
    pthread_mutex_unlock(&watch.lock);
}

static void *watch_calls(void *unused)
{
    (void)unused;
    for (;;) {
        check_limits();
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
    return NULL;
}

static void set_call(enum kind kind, const char *call)
{
    check_limits();
    pthread_mutex_lock(&watch.lock);
    watch.call[kind] = call;
    clock_gettime(CLOCK_MONOTONIC, &watch.since[kind]);
    pthread_mutex_unlock(&watch.lock);
}

// Makes a call within its limit of time. Its result does not matter: it depends on what happens elsewhere meanwhile.
#define CALL(expression)                                                                                                \
    do {                                                                                                                \
        gossip_error *error = NULL;                                                                                     \
        set_call(kind, #expression);                                                                                    \
        (void)(expression);                                                                                             \
        set_call(kind, NULL);                                                                                           \
        gossip_error_free(error);                                                                                       \
    } while (0)

// Whether this thread is in a callback that calls the library: callbacks within it have nothing to add.
static _Thread_local bool inside;

static void called_from(enum kind kind, const gossip_event *event)
{
    if (inside || !world.armed || atomic_exchange(&world.begun[kind], true))
        return;
    inside = true;
    world.act(kind, event);
    inside = false;
    count_up(&world.ended[kind]);
}

// Cryptography without an MSP: an identity is a name, and signs with it. `user` is the name; "node" is the one that
// counts.
static void from(void *user, enum kind kind)
{
    if (strcmp(user, "node") == 0)
        called_from(kind, NULL);
}

static bool toy_sign(void *user, const uint8_t *message, size_t message_len, gossip_reply *reply)
{
    (void)message, (void)message_len;
    from(user, SIGN);
    gossip_reply_set(reply, user, strlen(user));
    return true;
}

static bool toy_verify(void *user, gossip_bytes identity, gossip_bytes signature, gossip_bytes message,
                       gossip_reply *reply)
{
    (void)message, (void)reply;
    from(user, VERIFY);
    return identity.len == signature.len && memcmp(identity.data, signature.data, identity.len) == 0;
}

static bool toy_pki_id(void *user, gossip_bytes identity, gossip_reply *reply)
{
    from(user, PKI_ID);
    gossip_reply_set(reply, identity.data, identity.len);
    return true;
}

static bool toy_validate(void *user, gossip_bytes identity, gossip_reply *reply)
{
    (void)identity, (void)reply;
    from(user, VALIDATE);
    return true;
}

static bool toy_expiration(void *user, gossip_bytes identity, int64_t *seconds, gossip_reply *reply)
{
    (void)identity, (void)reply;
    from(user, EXPIRATION);
    *seconds = INT64_MAX;
    return true;
}

static bool toy_org(void *user, gossip_bytes identity, gossip_reply *reply)
{
    (void)identity;
    from(user, ORG);
    gossip_reply_set(reply, (const uint8_t *)"ToyMSP", 6);
    return true;
}

static gossip_crypto *toy_crypto(const char *name)
{
    gossip_error *error = NULL;
    gossip_crypto *crypto = NULL;
    gossip_crypto_callbacks callbacks = {
        .size = sizeof callbacks,
        .user = strdup(name),
        .free = free,
        .sign = toy_sign,
        .verify = toy_verify,
        .pki_id = toy_pki_id,
        .validate_identity = toy_validate,
        .expiration = toy_expiration,
        .org = toy_org,
    };
    check(gossip_crypto_new_callbacks((const uint8_t *)name, strlen(name), &callbacks, NULL, &crypto, &error), &error);
    return crypto;
}

// The other callbacks. Their `user` is the kind.
static enum kind kind_of(const void *user)
{
    return (enum kind)((const char *const *)user - NAMES);
}

static void *user_of(enum kind kind)
{
    return (void *)&NAMES[kind];
}

static bool on_predicate(void *user, const gossip_event *event)
{
    called_from(kind_of(user), event);
    return true;
}

static void on_event(void *user, const gossip_event *event)
{
    if (event != NULL)
        called_from(kind_of(user), event);
}

static bool on_block(void *user, const gossip_message *block, gossip_reply *reply)
{
    (void)block, (void)reply;
    called_from(kind_of(user), NULL);
    return true;
}

static bool on_suspect(void *user, gossip_bytes identity)
{
    (void)identity;
    called_from(kind_of(user), NULL);
    return false;
}

static void on_free(void *user)
{
    called_from(kind_of(user), NULL);
}

static void on_log(void *user, gossip_log_level level, gossip_str target, gossip_str text)
{
    (void)user, (void)level, (void)target, (void)text;
    called_from(LOG, NULL);
}

static void nothing_on_event(void *user, const gossip_event *event)
{
    (void)user, (void)event;
}

static bool nothing_on_suspect(void *user, gossip_bytes identity)
{
    (void)user, (void)identity;
    return false;
}

// Settings for a node, or a comm, whose calls are bounded by less than the limit.
static gossip_config *bounded_config(int peer)
{
    gossip_error *error = NULL;
    gossip_config *config = load_config(world.dir, 1, peer, 1);
    check(gossip_config_set(config, "comm.dial_timeout", BOUND, &error), &error);
    check(gossip_config_set(config, "comm.conn_timeout", BOUND, &error), &error);
    check(gossip_config_set(config, "channel.publish_state_info_interval", 100 * GOSSIP_MILLISECOND, &error), &error);
    check(gossip_config_set(config, "discovery.alive_time_interval", 200 * GOSSIP_MILLISECOND, &error), &error);
    check(gossip_config_set(config, "discovery.alive_expiration_timeout", 60 * GOSSIP_SECOND, &error), &error);
    return config;
}

static void join(const gossip_node *node, const char *channel, enum kind kind)
{
    gossip_channel_orgs *orgs = NULL;
    CALL(gossip_channel_orgs_new(&orgs, &error));
    CALL(gossip_channel_orgs_add(orgs, "ToyMSP", &error));
    CALL(gossip_node_join_channel(node, channel, orgs, &error));
    gossip_channel_orgs_free(orgs);
}

// Every call that has nothing to do with a comm, a node or a subscription.
static void call_the_rest(enum kind kind)
{
    const uint8_t data[] = "data";
    char path[1024];
    gossip_crypto *const cryptos[] = {world.crypto, world.member};
    for (size_t i = 0; i < sizeof cryptos / sizeof *cryptos; i++) {
        gossip_buffer *signature = NULL;
        gossip_message *message = NULL, *is_signed = NULL;
        gossip_bytes identity = gossip_crypto_identity(cryptos[i]);
        CALL(gossip_crypto_sign(cryptos[i], data, sizeof data, &signature, &error));
        gossip_bytes bytes = gossip_buffer_bytes(signature);
        CALL(gossip_crypto_verify(cryptos[i], identity.data, identity.len, bytes.data, bytes.len, data, sizeof data,
                                  &error));
        CALL(gossip_message_new_data("mychannel", 1, data, sizeof data, &message, &error));
        CALL(gossip_message_sign(message, cryptos[i], &is_signed, &error));
        CALL(gossip_message_verify(is_signed, cryptos[i], identity.data, identity.len, &error));
        CALL(gossip_message_text(is_signed));
        gossip_message_free(is_signed);
        gossip_message_free(message);
        gossip_buffer_free(signature);
    }
    gossip_crypto *crypto = NULL;
    gossip_msp *msp = NULL;
    snprintf(path, sizeof path, "%.900s/peerOrganizations/org2.example.com/msp", world.dir);
    CALL(gossip_msp_load(path, "Org2MSP", &msp, &error));
    CALL(gossip_crypto_trust(world.member, msp, &error));
    CALL(gossip_crypto_set_channel(world.member, "mychannel", (const gossip_msp *const *)&msp, 1, NULL, 0, &error));
    CALL(gossip_crypto_remove_channel(world.member, "mychannel", &error));
    CALL(gossip_crypto_distrust(world.member, "Org2MSP", &error));
    CALL(gossip_crypto_load(peer_path(path, world.dir, 1, 1, "msp"), "Org1MSP", &crypto, &error));
    gossip_crypto_free(crypto);
    gossip_msp_free(msp);
    crypto = NULL;
    CALL(crypto = toy_crypto("node"));
    CALL(gossip_crypto_free(crypto));

    gossip_tls_config *files = NULL;
    gossip_tls *tls = NULL;
    char cert[1024], key[1024];
    peer_path(cert, world.dir, 1, 1, "tls/server.crt");
    peer_path(key, world.dir, 1, 1, "tls/server.key");
    CALL(gossip_tls_config_new(&files, &error));
    CALL(gossip_tls_config_set_pair_files(files, cert, key, &error));
    CALL(gossip_tls_new(files, &tls, &error));
    CALL(gossip_tls_replace(tls, files, &error));
    CALL(gossip_tls_expires(tls));
    gossip_tls_free(tls);
    gossip_tls_config_free(files);
}

static void call_all_of_subscription(enum kind kind, gossip_subscription *subscription)
{
    int fd = -1;
    gossip_event *event = NULL;
    for (int i = 0; i < 2; i++) {
        CALL(gossip_subscription_recv(subscription, i * SHORT, &event, &error));
        gossip_event_free(event);
        event = NULL;
    }
    CALL(gossip_subscription_fd(subscription, &fd, &error));
    CALL(gossip_subscription_missed(subscription));
    CALL(gossip_subscription_len(subscription));
    CALL(gossip_subscription_set_callback(subscription, nothing_on_event, NULL, NULL, &error));
    CALL(gossip_subscription_close(subscription));
    CALL(gossip_subscription_free(subscription));
}

static void call_all_of_event(enum kind kind, const gossip_event *event)
{
    gossip_event *clone = NULL;
    gossip_message *message = new_block(1, 10);
    CALL(gossip_event_clone(event, &clone, &error));
    CALL(gossip_event_text(clone));
    CALL(gossip_event_respond(event, message, &error));
    CALL(gossip_event_ack(event, NULL, &error));
    CALL(gossip_event_free(clone));
    gossip_message_free(message);
}

static void call_all_of_comm(enum kind kind, const gossip_comm *comm)
{
    const gossip_peer nobody = {.endpoint = "127.0.0.1:1"}, *peer = &world.peer;
    gossip_message *message = new_block(1, 10);
    gossip_bytes id = gossip_comm_pki_id(comm);
    CALL(gossip_comm_local_addr(comm));
    CALL(gossip_comm_send(comm, message, peer, 1, &error));
    CALL(gossip_comm_send_timeout(comm, message, SHORT, peer, 1, &error));
    CALL(gossip_comm_send_with_ack(comm, message, SHORT, 1, peer, 1, NULL, &error));
    gossip_ack_handle *ack = NULL;
    CALL(gossip_comm_send_tracked(comm, message, SHORT, peer, &ack, &error));
    if (ack != NULL) {
        CALL(gossip_ack_handle_nonce(ack));
        CALL(gossip_ack_handle_wait(ack, SHORT, &error));
        CALL(gossip_ack_handle_free(ack));
    }
    gossip_connection_list *list = NULL;
    CALL(gossip_comm_connect(comm, peer, SHORT, NULL, &error));
    CALL(gossip_comm_flush(comm, SHORT, &error));
    CALL(gossip_comm_probe(comm, &nobody, &error));
    CALL(gossip_comm_probe(comm, peer, &error));
    CALL(gossip_comm_handshake(comm, peer, &list, NULL, &error));
    gossip_connection_list_free(list);
    list = NULL;
    CALL(gossip_comm_close(comm, &nobody, &error));
    CALL(gossip_comm_connections(comm, &list, &error));
    gossip_connection_list_free(list);
    gossip_buffer *buffer = NULL;
    CALL(gossip_comm_identity(comm, id.data, id.len, &buffer, &error));
    gossip_buffer_free(buffer);
    buffer = NULL;
    CALL(gossip_comm_org(comm, id.data, id.len, &buffer, &error));
    gossip_buffer_free(buffer);
    gossip_metrics *metrics = NULL;
    CALL(gossip_comm_metrics(comm, &metrics, &error));
    gossip_metrics_free(metrics);
    gossip_subscription *subscriptions[3] = {NULL};
    CALL(gossip_comm_accept(comm, NULL, on_predicate, user_of(COMM_PREDICATE), NULL, &subscriptions[0], &error));
    CALL(gossip_comm_events(comm, &subscriptions[1], &error));
    CALL(gossip_comm_presumed_dead(comm, &subscriptions[2], &error));
    for (int i = 0; i < 3; i++)
        call_all_of_subscription(kind, subscriptions[i]);
    gossip_message_free(message);
}

static void call_all_of_node(enum kind kind, const gossip_node *node)
{
    gossip_member_list *list = NULL;
    gossip_comm *comm = NULL;
    gossip_message *message = new_block(1, 10);
    const char *endpoint = gossip_comm_local_addr(world.comm).data;
    CALL(gossip_node_comm(node, &comm, &error));
    CALL(gossip_comm_free(comm));
#define LIST(call)                                                                                                      \
    do {                                                                                                                \
        list = NULL;                                                                                                    \
        CALL(call);                                                                                                     \
        gossip_member_list_free(list);                                                                                  \
    } while (0)
    LIST(gossip_node_self(node, &list, &error));
    LIST(gossip_node_peers(node, &list, &error));
    LIST(gossip_node_dead(node, &list, &error));
    LIST(gossip_node_lookup(node, (const uint8_t *)"partner", 7, &list, &error));
    LIST(gossip_node_channel_peers(node, "mychannel", &list, &error));
    gossip_channel_member_list *of_channel = NULL;
    CALL(gossip_node_peers_of_channel(node, "mychannel", &of_channel, &error));
    gossip_channel_member_list_free(of_channel);
    gossip_seed_list *seeds = NULL;
    CALL(gossip_node_seeds(node, &seeds, &error));
    gossip_seed_list_free(seeds);
    gossip_identity_list *identities = NULL;
    CALL(gossip_node_identities(node, &identities, &error));
    gossip_identity_list_free(identities);
    CALL(gossip_node_connect(node, world.peer.endpoint, &error));
    CALL(gossip_node_initiate_sync(node, 1, &error));
    CALL(gossip_node_update_metadata(node, (const uint8_t *)"other", 5, &error));
    CALL(gossip_node_update_endpoint(node, endpoint, &error));
    CALL(gossip_node_suspect_peers(node, nothing_on_suspect, NULL, &error));
    join(node, "another", kind);
    CALL(gossip_node_leave_channel(node, "another", &error));
    CALL(gossip_node_update_ledger_height(node, "mychannel", 1, &error));
    CALL(gossip_node_update_chaincodes(node, "mychannel", NULL, NULL, 0, &error));
    CALL(gossip_node_gossip(node, message, &error));
    CALL(gossip_node_send(node, message, &world.peer, 1, &error));
    CALL(gossip_node_send_by_criteria(node, message, SHORT, 0, 1, NULL, &error));
    CALL(gossip_node_wait_for_members(node, 1, SHORT, &error));
    gossip_metrics *metrics = NULL;
    CALL(gossip_node_metrics(node, &metrics, &error));
    gossip_metrics_free(metrics);
    gossip_subscription *subscriptions[2] = {NULL};
    CALL(gossip_node_accept(node, NULL, on_predicate, user_of(NODE_PREDICATE), NULL, &subscriptions[0], &error));
    CALL(gossip_node_notices(node, &subscriptions[1], &error));
    for (int i = 0; i < 2; i++)
        call_all_of_subscription(kind, subscriptions[i]);
    gossip_message_free(message);
}

// A comm and a node that live within one callback.
static void start_and_stop_others(enum kind kind)
{
    gossip_crypto *crypto = toy_crypto(NAMES[kind]);
    gossip_config *config = bounded_config(2);
    gossip_comm *comm = NULL;
    gossip_node *node = NULL;
    CALL(gossip_comm_start(crypto, config, &comm, &error));
    CALL(gossip_comm_connect(comm, &world.peer, SHORT, NULL, &error));
    CALL(gossip_comm_stop(comm, SHORT, &error));
    CALL(gossip_comm_free(comm));
    CALL(gossip_node_start(crypto, config, NULL, &node, &error));
    CALL(gossip_node_stop(node, &error));
    CALL(gossip_node_free(node));
    gossip_config_free(config);
    gossip_crypto_free(crypto);
}

static void call_everything(enum kind kind, const gossip_event *event)
{
    call_the_rest(kind);
    if (kind == LOG) // More is not allowed there.
        return;
    CALL(gossip_set_log_callback(on_log, GOSSIP_LOG_TRACE, &world.freed_logs, count_free, &error));
    if (event != NULL)
        call_all_of_event(kind, event);
    call_all_of_comm(kind, world.comm);
    call_all_of_node(kind, world.node);
    start_and_stop_others(kind);
}

static void stop_and_free(enum kind kind, const gossip_event *event)
{
    (void)event;
    gossip_node *node = world.node;
    CALL(gossip_node_stop(node, &error));
    CALL(gossip_comm_stop(world.comm, 0, &error));
    // The log callback may stop, and no more; and a handle is not freed while a call with it is under way.
    if (kind != LOG && kind != SUSPECT) {
        world.node = NULL;
        CALL(gossip_node_free(node));
    }
}

// Starts a node of this name and joins the channel, with the other node as its bootstrap peer if there is one.
static gossip_node *start_node(gossip_crypto *crypto, int peer, bool verifies, gossip_comm **comm)
{
    gossip_error *error = NULL;
    gossip_node *node = NULL;
    gossip_config *config = bounded_config(peer);
    if (world.peer.endpoint != NULL)
        check(gossip_config_add_bootstrap(config, world.peer.endpoint, &error), &error);
    if (verifies)
        check(gossip_config_set_block_verifier(config, on_block, user_of(VERIFIER), NULL, &error), &error);
    check(gossip_node_start(crypto, config, NULL, &node, &error), &error);
    check(gossip_node_comm(node, comm, &error), &error);
    join(node, "mychannel", SUSPECT);
    gossip_config_free(config);
    return node;
}

enum { SUBSCRIPTIONS = 7 };

// Sets every callback of the node.
static void subscribe_to_all(gossip_subscription *subscriptions[SUBSCRIPTIONS])
{
    gossip_error *error = NULL;
    gossip_subscription **next = subscriptions;
    check(gossip_comm_accept(world.comm, NULL, on_predicate, user_of(COMM_PREDICATE), NULL, next++, &error), &error);
    check(gossip_node_accept(world.node, NULL, on_predicate, user_of(NODE_PREDICATE), NULL, next++, &error), &error);
    gossip_subscription **with_callbacks = next;
    check(gossip_comm_accept(world.comm, NULL, NULL, NULL, NULL, next++, &error), &error);
    check(gossip_comm_events(world.comm, next++, &error), &error);
    check(gossip_comm_presumed_dead(world.comm, next++, &error), &error);
    check(gossip_node_accept(world.node, NULL, NULL, NULL, NULL, next++, &error), &error);
    check(gossip_node_notices(world.node, next++, &error), &error);
    const enum kind kinds[] = {COMM_CALLBACK, EVENT_CALLBACK, DEAD_CALLBACK, NODE_CALLBACK, NOTICE_CALLBACK};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const gossip_subscription *subscription = with_callbacks[i];
        check(gossip_subscription_set_callback(subscription, on_event, user_of(kinds[i]), NULL, &error), &error);
    }
}

// Makes each callback be called, or one of them.
static void provoke(uint64_t number, enum kind only)
{
    gossip_message *block = new_block(number, 10);
    gossip_comm *comm = NULL;
    gossip_subscription *subscription = NULL;
    const gossip_peer node = peer_at(world.comm);
    const gossip_peer gone = {.endpoint = "127.0.0.1:1", .pki_id = (const uint8_t *)"gone", .pki_id_len = 4};
    char name[32];
    snprintf(name, sizeof name, "stranger%u", (unsigned)number);
    gossip_node_gossip(world.partner, block, NULL);
    gossip_node_update_metadata(world.partner, (const uint8_t *)name, strlen(name), NULL);
    gossip_comm_send(world.partner_comm, block, &node, 1, NULL);
    gossip_comm_send(world.comm, block, &gone, 1, NULL);
    // A new identity is passed to every function that takes one.
    gossip_crypto *stranger = toy_crypto(name);
    gossip_config *config = bounded_config(2);
    if (gossip_comm_start(stranger, config, &comm, NULL) == GOSSIP_OK)
        gossip_comm_connect(comm, &node, SHORT, NULL, NULL);
    gossip_comm_free(comm);
    gossip_config_free(config);
    gossip_crypto_free(stranger);
    if (only == SUSPECT || only == KINDS)
        gossip_node_suspect_peers(world.node, on_suspect, user_of(SUSPECT), NULL);
    if (gossip_comm_accept(world.comm, NULL, on_predicate, user_of(FREE), on_free, &subscription, NULL) == GOSSIP_OK)
        gossip_subscription_free(subscription);
    gossip_message_free(block);
}

// Provokes until every callback, or the only one wanted, has completed its action.
static void until_done(enum kind only)
{
    static uint64_t number = 0;
    struct timespec begun;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (;;) {
        enum kind missing = KINDS;
        for (int kind = 0; kind < KINDS; kind++) {
            if ((only == KINDS || only == (enum kind)kind) && counted(&world.ended[kind]) == 0)
                missing = (enum kind)kind;
        }
        if (missing == KINDS)
            return;
        if (seconds_since(&begun) > 12 * LIMIT) {
            fprintf(stderr, "the %s callback was not called\n", NAMES[missing]);
            exit(EXIT_FAILURE);
        }
        provoke(++number, only);
    }
}

// Starts the node, has its callbacks do `act`, and stops it.
static void with_node(enum kind only, void (*act)(enum kind kind, const gossip_event *event))
{
    gossip_error *error = NULL;
    gossip_subscription *subscriptions[SUBSCRIPTIONS];
    world.crypto = toy_crypto("node");
    world.node = start_node(world.crypto, 1, true, &world.comm);
    subscribe_to_all(subscriptions);
    check(gossip_node_wait_for_members(world.partner, 1, 2 * PATIENCE, &error), &error);
    world.act = act;
    for (int kind = 0; kind < KINDS; kind++) {
        world.ended[kind] = (struct counter)COUNTER;
        world.begun[kind] = only != KINDS && only != (enum kind)kind;
    }
    world.armed = true;
    until_done(only);
    world.armed = false;
    if (world.node != NULL)
        check(gossip_node_stop(world.node, &error), &error);
    stop(world.comm);
    gossip_peer nobody = {.endpoint = "127.0.0.1:1"};
    EXPECT(GOSSIP_STOPPED, gossip_comm_connect(world.comm, &nobody, SHORT, NULL, &error));
    for (int i = 0; i < SUBSCRIPTIONS; i++)
        gossip_subscription_free(subscriptions[i]);
    gossip_comm_free(world.comm);
    gossip_node_free(world.node);
    gossip_crypto_free(world.crypto);
}

int main(int argc, char **argv)
{
    gossip_error *error = NULL;
    world.dir = dir_argument(argc, argv);
    world.freed_logs = (struct counter)COUNTER;
    pthread_t watching = start_thread(watch_calls, NULL);
    pthread_detach(watching);
    check(gossip_set_log_callback(on_log, GOSSIP_LOG_TRACE, &world.freed_logs, count_free, &error), &error);
    world.member = load_crypto(world.dir, 1, 0);
    gossip_crypto *crypto = toy_crypto("partner");
    world.partner = start_node(crypto, 0, false, &world.partner_comm);
    world.peer = peer_at(world.partner_comm);

    with_node(KINDS, call_everything);
    for (int kind = 0; kind < KINDS; kind++)
        with_node((enum kind)kind, stop_and_free);

    check(gossip_set_log_callback(NULL, 0, NULL, NULL, &error), &error);
    // Once for the first, and once for each kind of callback but the log's.
    AWAIT(&world.freed_logs, KINDS);
    CHECK(counted(&world.freed_logs) == KINDS);
    gossip_node_free(world.partner);
    gossip_comm_free(world.partner_comm);
    gossip_crypto_free(crypto);
    gossip_crypto_free(world.member);
    return EXIT_SUCCESS;
}
