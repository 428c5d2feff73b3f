// Callbacks that call the library, that take long, that stop what they belong to, and that free it.
#include "test.h"

// The state shared by the callbacks of one test.
struct world {
    gossip_comm *comm;
    gossip_node *node;
    gossip_subscription *subscription;
    const char *dir;
    struct counter called, done, freed;
    pthread_mutex_t held;
};

static struct world new_world(void)
{
    return (struct world){
        .called = COUNTER, .done = COUNTER, .freed = COUNTER, .held = PTHREAD_MUTEX_INITIALIZER};
}

static void freed(void *user)
{
    count_up(&((struct world *)user)->freed);
}

// Two peers: of the second one is the subscription. Returns the first.
static gossip_comm *connect_two(struct world *world, const char *dir, gossip_predicate predicate)
{
    gossip_error *error = NULL;
    gossip_comm *from = start_peer(dir, 0);
    world->dir = dir;
    world->comm = start_peer(dir, 1);
    check(gossip_comm_accept(world->comm, NULL, predicate, world, freed, &world->subscription, &error), &error);
    return from;
}

static void has_stopped(const struct world *world)
{
    gossip_error *error = NULL;
    gossip_peer nobody = {.endpoint = "127.0.0.1:1"};
    stop(world->comm); // Waits for the one that is under way.
    EXPECT(GOSSIP_STOPPED, gossip_comm_connect(world->comm, &nobody, PATIENCE, NULL, &error));
}

static bool predicate_that_calls(void *user, const gossip_event *event)
{
    struct world *world = user;
    gossip_error *error = NULL;
    gossip_connection_list *list = NULL;
    gossip_metrics *metrics = NULL;
    gossip_event *clone = NULL;
    check(gossip_comm_connections(world->comm, &list, &error), &error);
    check(gossip_comm_metrics(world->comm, &metrics, &error), &error);
    check(gossip_event_clone(event, &clone, &error), &error);
    check(gossip_event_ack(event, NULL, &error), &error);
    gossip_subscription_free(subscribe(world->comm));
    gossip_connection_list_free(list);
    gossip_metrics_free(metrics);
    gossip_event_free(clone);
    count_up(&world->called);
    return true;
}

static void a_predicate_calls_the_library(const char *dir)
{
    gossip_error *error = NULL;
    struct world world = new_world();
    gossip_comm *from = connect_two(&world, dir, predicate_that_calls);
    gossip_peer to = peer_at(world.comm);
    gossip_message *message = new_block(1, 10);
    check(gossip_comm_send_with_ack(from, message, PATIENCE, 1, &to, 1, NULL, &error), &error);
    AWAIT(&world.called, 1);
    gossip_message_free(message);
    gossip_subscription_free(world.subscription);
    gossip_comm_free(world.comm);
    gossip_comm_free(from);
    AWAIT(&world.freed, 1);
}

static bool predicate_that_stops(void *user, const gossip_event *event)
{
    struct world *world = user;
    (void)event;
    stop(world->comm);
    count_up(&world->called);
    return true;
}

static void a_predicate_stops_its_comm(const char *dir)
{
    struct world world = new_world();
    gossip_comm *from = connect_two(&world, dir, predicate_that_stops);
    gossip_peer to = peer_at(world.comm);
    send_block(from, &to, 1);
    AWAIT(&world.called, 1);
    has_stopped(&world);
    gossip_subscription_free(world.subscription);
    gossip_comm_free(world.comm);
    gossip_comm_free(from);
    AWAIT(&world.freed, 1);
}

static bool predicate_that_frees(void *user, const gossip_event *event)
{
    struct world *world = user;
    (void)event;
    gossip_comm_free(world->comm);
    count_up(&world->called);
    return true;
}

static void a_predicate_frees_its_comm(const char *dir)
{
    gossip_error *error = NULL;
    struct world world = new_world();
    gossip_comm *from = connect_two(&world, dir, predicate_that_frees);
    gossip_peer to = peer_at(world.comm);
    send_block(from, &to, 1);
    AWAIT(&world.called, 1);
    gossip_event *event = NULL;
    gossip_result result;
    while ((result = gossip_subscription_recv(world.subscription, 2 * PATIENCE, &event, &error)) == GOSSIP_OK)
        gossip_event_free(event);
    EXPECT(GOSSIP_STOPPED, result);
    gossip_subscription_free(world.subscription);
    AWAIT(&world.freed, 1);
    gossip_comm_free(from);
}

static void callback_that_stops(void *user, const gossip_event *event)
{
    struct world *world = user;
    if (event == NULL) {
        count_up(&world->done);
        return;
    }
    stop(world->comm);
    count_up(&world->called);
}

static void a_callback_stops_its_comm(const char *dir)
{
    gossip_error *error = NULL;
    struct world world = new_world();
    gossip_comm *from = connect_two(&world, dir, NULL);
    check(gossip_subscription_set_callback(world.subscription, callback_that_stops, &world, freed, &error), &error);
    // There is one callback at most; the data given with a second one remains the caller's.
    EXPECT(GOSSIP_INVALID_ARGUMENT,
           gossip_subscription_set_callback(world.subscription, callback_that_stops, &world, freed, &error));
    gossip_peer to = peer_at(world.comm);
    send_block(from, &to, 1);
    AWAIT(&world.called, 1);
    AWAIT(&world.done, 1); // The last call.
    has_stopped(&world);
    gossip_subscription_free(world.subscription);
    gossip_comm_free(world.comm);
    gossip_comm_free(from);
    AWAIT(&world.freed, 2); // As user of the predicate and of the callback.
    CHECK(counted(&world.done) == 1);
}

static void callback_that_frees(void *user, const gossip_event *event)
{
    struct world *world = user;
    CHECK(event != NULL);
    gossip_subscription_free(world->subscription);
    gossip_comm_free(world->comm);
    // A borrowed event stays valid until the callback returns.
    CHECK(gossip_message_data(gossip_event_message(event)).len == 10);
    count_up(&world->called);
}

static void a_callback_frees_its_subscription_and_comm(const char *dir)
{
    gossip_error *error = NULL;
    struct world world = new_world();
    gossip_comm *from = connect_two(&world, dir, NULL);
    check(gossip_subscription_set_callback(world.subscription, callback_that_frees, &world, freed, &error), &error);
    gossip_peer to = peer_at(world.comm);
    send_block(from, &to, 1);
    send_block(from, &to, 2);
    AWAIT(&world.called, 1);
    AWAIT(&world.freed, 2);
    CHECK(counted(&world.called) == 1);
    gossip_comm_free(from);
}

static void callback_that_takes_long(void *user, const gossip_event *event)
{
    struct world *world = user;
    count_up(&world->called);
    pthread_mutex_lock(&world->held);
    pthread_mutex_unlock(&world->held);
    if (event != NULL)
        count_up(&world->done);
}

static void *free_subscription(void *user)
{
    struct world *world = user;
    gossip_subscription_free(world->subscription);
    count_up(&world->freed);
    return NULL;
}

// It holds up nothing but its own subscription, and the free waits for it.
static void a_callback_takes_long(const char *dir)
{
    gossip_error *error = NULL;
    struct world world = new_world();
    gossip_comm *from = connect_two(&world, dir, NULL);
    gossip_subscription *other = subscribe(world.comm);
    check(gossip_subscription_set_callback(world.subscription, callback_that_takes_long, &world, NULL, &error), &error);
    gossip_peer to = peer_at(world.comm);
    pthread_mutex_lock(&world.held);
    for (uint64_t i = 0; i < 100; i++)
        send_block(from, &to, i);
    for (uint64_t i = 0; i < 100; i++)
        gossip_event_free(receive(other));
    AWAIT(&world.called, 1);
    CHECK(gossip_subscription_len(world.subscription) == 99);
    stop(world.comm);
    CHECK(counted(&world.called) == 1 && counted(&world.done) == 0);
    pthread_t freeing = start_thread(free_subscription, &world);
    pthread_mutex_unlock(&world.held);
    pthread_join(freeing, NULL);
    // The callback had received every event completely by then, and after the free it is not called again.
    unsigned called = counted(&world.called);
    CHECK(called >= 1 && called <= 101 && counted(&world.done) >= called - 1);
    gossip_subscription_free(other);
    gossip_comm_free(world.comm);
    gossip_comm_free(from);
    CHECK(counted(&world.called) == called);
}

// Something that calls the library when it is freed.
static void free_that_calls(void *user)
{
    struct world *world = user;
    gossip_subscription_free(subscribe(world->comm));
    count_up(&world->freed);
}

static bool wants_everything(void *user, const gossip_event *event)
{
    (void)user, (void)event;
    return true;
}

static void a_free_callback_calls_the_library(const char *dir)
{
    gossip_error *error = NULL;
    struct world world = new_world();
    gossip_comm *from = start_peer(dir, 0);
    world.comm = start_peer(dir, 1);
    gossip_peer to = peer_at(world.comm);
    gossip_subscription *inbox = subscribe(world.comm), *subscription = NULL;
    for (int i = 0; i < 3; i++) {
        check(gossip_comm_accept(world.comm, NULL, wants_everything, &world, free_that_calls, &subscription, &error),
              &error);
        if (i < 2) // The last one stays until the stop.
            gossip_subscription_free(subscription);
    }
    send_block(from, &to, 1);
    gossip_event_free(receive(inbox));
    stop(world.comm);
    AWAIT(&world.freed, 3);
    gossip_subscription_free(subscription);
    gossip_subscription_free(inbox);
    gossip_comm_free(world.comm);
    gossip_comm_free(from);
}

// Lines are counted while they are logged; `user` may stop the comm.
static void log_that_calls(void *user, gossip_log_level level, gossip_str target, gossip_str text)
{
    struct world *world = user;
    CHECK(level >= GOSSIP_LOG_ERROR && level <= GOSSIP_LOG_TRACE && target.len > 0 && text.data != NULL);
    gossip_error *error = NULL;
    gossip_msp *msp = NULL;
    EXPECT(GOSSIP_CONFIG, gossip_msp_load("/nonexistent", "Org1MSP", &msp, &error));
    if (world->comm != NULL && counted(&world->called) == 0) {
        stop(world->comm);
        count_up(&world->done);
    }
    count_up(&world->called);
}

static void a_log_callback_calls_and_stops(const char *dir)
{
    gossip_error *error = NULL;
    struct world world = new_world();
    gossip_comm *from = start_peer(dir, 0);
    gossip_comm *to = start_peer(dir, 1);
    world.comm = to;
    check(gossip_set_log_callback(log_that_calls, GOSSIP_LOG_TRACE, &world, freed, &error), &error);
    gossip_peer peer = peer_at(to);
    gossip_comm_connect(from, &peer, PATIENCE, NULL, NULL);
    gossip_peer back = peer_at(from);
    gossip_comm_connect(to, &back, PATIENCE, NULL, NULL);
    // A refused impostor is logged in any case.
    gossip_crypto *crypto = load_crypto(dir, 2, 0);
    trust(crypto, dir, 1);
    gossip_config *config = load_config(dir, 2, 0, 1);
    gossip_comm *impostor = NULL;
    check(gossip_comm_start(crypto, config, &impostor, &error), &error);
    gossip_comm_connect(impostor, &back, PATIENCE, NULL, NULL);
    AWAIT(&world.done, 1);
    has_stopped(&world);
    // Another one takes its place, which frees the first; then none does.
    struct world second = new_world();
    check(gossip_set_log_callback(log_that_calls, GOSSIP_LOG_WARN, &second, freed, &error), &error);
    AWAIT(&world.freed, 1);
    check(gossip_set_log_callback(NULL, 0, NULL, NULL, &error), &error);
    AWAIT(&second.freed, 1);
    unsigned called = counted(&world.called);
    gossip_comm_free(impostor);
    gossip_config_free(config);
    gossip_crypto_free(crypto);
    gossip_comm_free(to);
    gossip_comm_free(from);
    CHECK(counted(&world.called) == called);
}

static bool verifier_that_stops(void *user, const gossip_message *block, gossip_reply *reply)
{
    struct world *world = user;
    CHECK(gossip_message_content(block) == GOSSIP_CONTENT_DATA);
    gossip_error *error = NULL;
    check(gossip_node_stop(world->node, &error), &error);
    gossip_reply_fail(reply, "stopped");
    count_up(&world->called);
    return false;
}

static void a_block_verifier_stops_its_node(const char *dir)
{
    gossip_error *error = NULL;
    struct world world = new_world();
    gossip_node *from = NULL;
    for (int n = 0; n < 2; n++) {
        gossip_crypto *crypto = load_crypto(dir, 1, n);
        gossip_config *config = load_config(dir, 1, n, 1);
        check(gossip_config_set(config, "channel.publish_state_info_interval", 100 * GOSSIP_MILLISECOND, &error), &error);
        if (n == 1) {
            gossip_member_list *list = NULL;
            gossip_member member;
            check(gossip_node_self(from, &list, &error), &error);
            check(gossip_member_list_at(list, 0, &member, &error), &error);
            check(gossip_config_add_bootstrap(config, member.internal_endpoint.data, &error), &error);
            gossip_member_list_free(list);
            check(gossip_config_set_block_verifier(config, verifier_that_stops, &world, freed, &error), &error);
        }
        gossip_node **node = n == 0 ? &from : &world.node;
        check(gossip_node_start(crypto, config, NULL, node, &error), &error);
        gossip_channel_orgs *orgs = NULL;
        check(gossip_channel_orgs_new(&orgs, &error), &error);
        check(gossip_channel_orgs_add(orgs, "Org1MSP", &error), &error);
        check(gossip_node_join_channel(*node, "mychannel", orgs, &error), &error);
        gossip_channel_orgs_free(orgs);
        gossip_config_free(config);
        gossip_crypto_free(crypto);
    }
    check(gossip_node_wait_for_members(from, 1, 2 * PATIENCE, &error), &error);
    // A block reaches the peers known to be in the channel by then: one more with each change, until one does.
    gossip_subscription *seen = NULL;
    gossip_comm *comm = NULL;
    check(gossip_node_comm(from, &comm, &error), &error);
    seen = subscribe(comm);
    for (uint64_t number = 1; counted(&world.called) == 0; number++) {
        gossip_message *block = new_block(number, 10);
        check(gossip_node_gossip(from, block, &error), &error);
        gossip_message_free(block);
        gossip_event *event = NULL;
        if (gossip_subscription_recv(seen, 100 * GOSSIP_MILLISECOND, &event, NULL) == GOSSIP_OK)
            gossip_event_free(event);
        CHECK(number < 600);
    }
    check(gossip_node_stop(world.node, &error), &error);
    gossip_node_free(world.node);
    AWAIT(&world.freed, 1);
    gossip_subscription_free(seen);
    gossip_comm_free(comm);
    gossip_node_free(from);
}

int main(int argc, char **argv)
{
    const char *dir = dir_argument(argc, argv);
    a_predicate_calls_the_library(dir);
    a_predicate_stops_its_comm(dir);
    a_predicate_frees_its_comm(dir);
    a_callback_stops_its_comm(dir);
    a_callback_frees_its_subscription_and_comm(dir);
    a_callback_takes_long(dir);
    a_free_callback_calls_the_library(dir);
    a_log_callback_calls_and_stops(dir);
    a_block_verifier_stops_its_node(dir);
    return EXIT_SUCCESS;
}
