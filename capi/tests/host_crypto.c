// Cryptography of the host's own: a key that only the host can use, as an HSM's, over an MSP; and no MSP at all.
#include "test.h"

#include <stdatomic.h>

struct hsm {
    gossip_crypto *key; // Stands for the device.
    gossip_comm *comm;
    struct counter called, freed, stopped;
    pthread_mutex_t held;
    atomic_bool fails, stops;
};

static struct hsm new_hsm(gossip_crypto *key)
{
    return (struct hsm){
        .key = key, .called = COUNTER, .freed = COUNTER, .stopped = COUNTER, .held = PTHREAD_MUTEX_INITIALIZER};
}

static void hsm_freed(void *user)
{
    count_up(&((struct hsm *)user)->freed);
}

static bool hsm_sign(void *user, const uint8_t *message, size_t message_len, gossip_reply *reply)
{
    struct hsm *hsm = user;
    gossip_error *error = NULL;
    gossip_buffer *signature = NULL;
    count_up(&hsm->called);
    pthread_mutex_lock(&hsm->held); // As long as the test wants.
    pthread_mutex_unlock(&hsm->held);
    if (hsm->fails) {
        gossip_reply_fail(reply, "the device is locked");
        return false;
    }
    if (hsm->stops && hsm->comm != NULL) {
        stop(hsm->comm);
        count_up(&hsm->stopped);
    }
    check(gossip_crypto_sign(hsm->key, message, message_len, &signature, &error), &error);
    gossip_bytes bytes = gossip_buffer_bytes(signature);
    gossip_reply_set(reply, bytes.data, bytes.len);
    gossip_buffer_free(signature);
    return true;
}

// Everything but the signatures is the MSP's.
static gossip_crypto *hsm_crypto(struct hsm *hsm, const char *dir)
{
    gossip_error *error = NULL;
    gossip_crypto *crypto = NULL;
    gossip_msp *msp = NULL;
    char path[1024];
    snprintf(path, sizeof path, "%.900s/peerOrganizations/org1.example.com/msp", dir);
    check(gossip_msp_load(path, "Org1MSP", &msp, &error), &error);
    gossip_crypto_callbacks callbacks = {.size = sizeof callbacks, .user = hsm, .free = hsm_freed, .sign = hsm_sign};
    gossip_bytes identity = gossip_crypto_identity(hsm->key);

    // Without a signature there is no crypto; without an MSP the rest is needed. `user` stays the caller's.
    gossip_crypto_callbacks too_few = callbacks;
    too_few.sign = NULL;
    EXPECT(GOSSIP_INVALID_ARGUMENT,
           gossip_crypto_new_callbacks(identity.data, identity.len, &too_few, msp, &crypto, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT,
           gossip_crypto_new_callbacks(identity.data, identity.len, &callbacks, NULL, &crypto, &error));
    EXPECT(GOSSIP_IDENTITY, gossip_crypto_new_callbacks((const uint8_t *)"none", 4, &callbacks, msp, &crypto, &error));
    CHECK(crypto == NULL && counted(&hsm->freed) == 0);

    check(gossip_crypto_new_callbacks(identity.data, identity.len, &callbacks, msp, &crypto, &error), &error);
    gossip_msp_free(msp);
    return crypto;
}

static void an_hsm_signs(const char *dir)
{
    gossip_error *error = NULL;
    struct hsm hsm = new_hsm(load_crypto(dir, 1, 0));
    gossip_crypto *crypto = hsm_crypto(&hsm, dir);
    gossip_comm *from = start_comm(crypto, dir, 0), *to = start_peer(dir, 1);
    gossip_subscription *inbox = subscribe(to);
    gossip_peer peer = peer_at(to);
    send_block(from, &peer, 1);
    gossip_event *event = receive(inbox);
    gossip_bytes id = gossip_event_pki_id(event), ours = gossip_crypto_pki_id(hsm.key);
    CHECK(counted(&hsm.called) > 0 && id.len == ours.len && memcmp(id.data, ours.data, id.len) == 0);
    gossip_event_free(event);

    // Its own signature can be checked by every peer that trusts the organisation.
    gossip_message *message = new_block(1, 10), *is_signed = NULL;
    gossip_bytes identity = gossip_crypto_identity(crypto);
    check(gossip_message_sign(message, crypto, &is_signed, &error), &error);
    check(gossip_message_verify(is_signed, hsm.key, identity.data, identity.len, &error), &error);
    EXPECT(GOSSIP_SIGNATURE, gossip_message_verify(message, hsm.key, identity.data, identity.len, &error));
    gossip_message_free(is_signed);

    // A device that fails: its own words, and no connection.
    hsm.fails = true;
    CHECK(gossip_message_sign(message, crypto, &is_signed, &error) == GOSSIP_SIGNATURE);
    CHECK(strstr(gossip_error_message(error).data, "the device is locked") != NULL);
    gossip_error_free(error);
    gossip_comm *other = start_peer(dir, 2);
    gossip_peer to_other = peer_at(other);
    gossip_result result = gossip_comm_connect(from, &to_other, PATIENCE, NULL, &error);
    CHECK(result != GOSSIP_OK && strstr(gossip_error_message(error).data, "the device is locked") != NULL);
    gossip_error_free(error);
    hsm.fails = false;

    gossip_message_free(message);
    gossip_comm_free(other);
    gossip_comm_free(to);
    gossip_subscription_free(inbox);
    gossip_crypto_free(crypto);
    CHECK(counted(&hsm.freed) == 0); // The comm still needs it.
    gossip_comm_free(from);
    AWAIT(&hsm.freed, 1);
    gossip_crypto_free(hsm.key);
}

static void *connect_to(void *argument)
{
    gossip_comm **comms = argument;
    gossip_peer peer = peer_at(comms[1]);
    gossip_comm_connect(comms[0], &peer, 2 * PATIENCE, NULL, NULL);
    return NULL;
}

// While a device takes its time, connections that do not need it work.
static void a_slow_device_holds_up_nobody_else(const char *dir)
{
    struct hsm hsm = new_hsm(load_crypto(dir, 1, 0));
    gossip_crypto *crypto = hsm_crypto(&hsm, dir);
    gossip_comm *from = start_comm(crypto, dir, 0), *to = start_peer(dir, 1), *other = start_peer(dir, 2);
    gossip_subscription *inbox = subscribe(to);
    unsigned called = counted(&hsm.called); // At the start.
    pthread_mutex_lock(&hsm.held);
    gossip_comm *comms[] = {from, other};
    pthread_t connecting = start_thread(connect_to, comms);
    AWAIT(&hsm.called, called + 1);
    gossip_peer peer = peer_at(to);
    send_block(other, &peer, 1);
    gossip_event_free(receive(inbox));
    pthread_mutex_unlock(&hsm.held);
    pthread_join(connecting, NULL);
    gossip_subscription_free(inbox);
    gossip_comm_free(other);
    gossip_comm_free(to);
    gossip_comm_free(from);
    gossip_crypto_free(crypto);
    AWAIT(&hsm.freed, 1);
    gossip_crypto_free(hsm.key);
}

static void a_crypto_callback_stops_its_comm(const char *dir)
{
    gossip_error *error = NULL;
    struct hsm hsm = new_hsm(load_crypto(dir, 1, 0));
    gossip_crypto *crypto = hsm_crypto(&hsm, dir);
    hsm.comm = start_comm(crypto, dir, 0);
    hsm.stops = true;
    gossip_comm *to = start_peer(dir, 1);
    gossip_peer peer = peer_at(to), self = peer_at(hsm.comm);
    // Whether it still connects is open: another thread stops it meanwhile.
    gossip_comm_connect(hsm.comm, &peer, PATIENCE, NULL, NULL);
    AWAIT(&hsm.stopped, 1);
    stop(hsm.comm);
    EXPECT(GOSSIP_STOPPED, gossip_comm_connect(hsm.comm, &peer, PATIENCE, NULL, &error));
    gossip_comm_free(hsm.comm);
    hsm.comm = NULL; // A start asks for a signature too.

    // And as the one that is dialled: on a thread that accepts.
    hsm.comm = start_comm(crypto, dir, 0);
    self = peer_at(hsm.comm);
    unsigned stopped = counted(&hsm.stopped);
    gossip_comm_connect(to, &self, PATIENCE, NULL, NULL);
    AWAIT(&hsm.stopped, stopped + 1);
    gossip_comm_free(hsm.comm);
    gossip_comm_free(to);
    gossip_crypto_free(crypto);
    AWAIT(&hsm.freed, 1);
    gossip_crypto_free(hsm.key);
}

// No MSP: an identity is a name, and its signature consists of the name and the length of the signed data.
static void set_text(gossip_reply *reply, gossip_bytes name, size_t number)
{
    uint8_t text[100];
    int len = snprintf((char *)text, sizeof text, "%.*s-%zu", (int)name.len, (const char *)name.data, number);
    gossip_reply_set(reply, text, (size_t)len);
}

static bool toy_sign(void *user, const uint8_t *message, size_t message_len, gossip_reply *reply)
{
    (void)message;
    set_text(reply, (gossip_bytes){user, strlen(user)}, message_len);
    return true;
}

static bool toy_verify(void *user, gossip_bytes identity, gossip_bytes signature, gossip_bytes message,
                       gossip_reply *reply)
{
    (void)user;
    char text[100];
    int len = snprintf(text, sizeof text, "%.*s-%zu", (int)identity.len, (const char *)identity.data, message.len);
    if ((size_t)len == signature.len && memcmp(text, signature.data, signature.len) == 0)
        return true;
    gossip_reply_fail(reply, "another name");
    return false;
}

static bool toy_pki_id(void *user, gossip_bytes identity, gossip_reply *reply)
{
    (void)user;
    gossip_reply_set(reply, identity.data, identity.len);
    return true;
}

static bool toy_validate(void *user, gossip_bytes identity, gossip_reply *reply)
{
    (void)user;
    if (identity.len > 0 && identity.data[0] != 'x')
        return true;
    gossip_reply_fail(reply, "names with an x are not believed");
    return false;
}

static bool toy_expiration(void *user, gossip_bytes identity, int64_t *seconds, gossip_reply *reply)
{
    (void)user, (void)identity, (void)reply;
    *seconds = INT64_MAX;
    return true;
}

static bool toy_org(void *user, gossip_bytes identity, gossip_reply *reply)
{
    (void)user, (void)identity;
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

static void no_msp_at_all(const char *dir)
{
    gossip_error *error = NULL;
    gossip_crypto *alice = toy_crypto("alice"), *bob = toy_crypto("bob"), *xaver = toy_crypto("xaver");
    gossip_comm *from = start_comm(alice, dir, 0), *to = start_comm(bob, dir, 1);
    gossip_subscription *inbox = subscribe(to);
    gossip_peer peer = peer_at(to);
    send_block(from, &peer, 1);
    gossip_event *event = receive(inbox);
    gossip_bytes id = gossip_event_pki_id(event);
    CHECK(id.len == 5 && memcmp(id.data, "alice", 5) == 0);
    gossip_event_free(event);
    gossip_buffer *org = NULL;
    check(gossip_comm_org(to, id.data, 0, &org, NULL) == GOSSIP_IDENTITY ? GOSSIP_OK : GOSSIP_INTERNAL, &error);
    check(gossip_comm_org(to, (const uint8_t *)"alice", 5, &org, &error), &error);
    CHECK(strcmp((const char *)gossip_buffer_bytes(org).data, "ToyMSP") == 0);
    gossip_buffer_free(org);

    // A peer that is not trusted cannot even start; one that signs with another name is refused.
    gossip_config *config = load_config(dir, 1, 2, 1);
    gossip_comm *none = NULL;
    CHECK(gossip_comm_start(xaver, config, &none, &error) == GOSSIP_IDENTITY && none == NULL);
    CHECK(strstr(gossip_error_message(error).data, "names with an x") != NULL);
    gossip_error_free(error);
    gossip_config_free(config);
    CHECK(gossip_crypto_verify(alice, (const uint8_t *)"bob", 3, (const uint8_t *)"alice-4", 7,
                               (const uint8_t *)"data", 4, &error) == GOSSIP_SIGNATURE);
    gossip_error_free(error);
    // There are no organisations to change.
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_crypto_distrust(alice, "ToyMSP", &error));

    gossip_crypto_free(alice);
    gossip_crypto_free(bob);
    gossip_crypto_free(xaver);
    gossip_comm_free(to);
    gossip_comm_free(from);
    gossip_subscription_free(inbox);
}

// A reply that is too long counts as a failure, whatever the callback says.
static bool sign_too_much(void *user, const uint8_t *message, size_t message_len, gossip_reply *reply)
{
    (void)user, (void)message, (void)message_len;
    static const uint8_t large[2 << 20];
    gossip_reply_set(reply, large, sizeof large);
    gossip_reply_set(NULL, large, 1);
    gossip_reply_fail(NULL, "nothing");
    return true;
}

static void a_reply_has_a_limit(const char *dir)
{
    gossip_error *error = NULL;
    gossip_crypto *key = load_crypto(dir, 1, 0), *crypto = NULL;
    gossip_msp *msp = NULL;
    gossip_buffer *signature = NULL;
    char path[1024];
    snprintf(path, sizeof path, "%.900s/peerOrganizations/org1.example.com/msp", dir);
    check(gossip_msp_load(path, "Org1MSP", &msp, &error), &error);
    gossip_crypto_callbacks callbacks = {.size = sizeof callbacks, .sign = sign_too_much};
    gossip_bytes identity = gossip_crypto_identity(key);
    check(gossip_crypto_new_callbacks(identity.data, identity.len, &callbacks, msp, &crypto, &error), &error);
    EXPECT(GOSSIP_SIGNATURE, gossip_crypto_sign(crypto, identity.data, identity.len, &signature, &error));
    CHECK(signature == NULL);
    gossip_crypto_free(crypto);
    gossip_crypto_free(key);
    gossip_msp_free(msp);
}

// A device that signs digests. It signs with the library's own signature of nothing, which is never the right one;
// a real device is in bindings/python/examples/hsm.py, real signatures in tests/msp/signing.rs.
struct device {
    struct counter called, freed;
    int answers;
};

enum { UNNAMED, DER, RAW, FAILED };

static bool device_sign(void *user, const uint8_t *digest, size_t digest_len, gossip_reply *reply)
{
    struct device *device = user;
    CHECK(digest_len == 32);
    count_up(&device->called);
    if (device->answers == FAILED) {
        gossip_reply_fail(reply, "the token is locked");
        return false;
    }
    uint8_t raw[64];
    memset(raw, 1, sizeof raw);
    if (device->answers == RAW)
        gossip_reply_set_raw(reply, raw, sizeof raw);
    else if (device->answers == DER)
        gossip_reply_set_der(reply, raw, sizeof raw);
    else
        gossip_reply_set(reply, digest, digest_len);
    return true;
}

static void device_freed(void *user)
{
    count_up(&((struct device *)user)->freed);
}

// The error must contain the text.
static void device_refused(const gossip_msp *msp, const char *cert, gossip_sign_digest_callback sign, int answers,
                           gossip_result code, const char *text)
{
    gossip_error *error = NULL;
    gossip_crypto *crypto = NULL;
    struct device device = {.called = COUNTER, .freed = COUNTER, .answers = answers};
    gossip_result result = gossip_crypto_new_signer(msp, (const uint8_t *)cert, strlen(cert), sign, &device, device_freed,
                                                    &crypto, &error);
    if (result != code || strstr(gossip_error_message(error).data, text) == NULL)
        fprintf(stderr, "%s: %s\n", gossip_result_name(result).data, gossip_error_message(error).data);
    CHECK(result == code && crypto == NULL && strstr(gossip_error_message(error).data, text) != NULL);
    CHECK(counted(&device.freed) == 0); // `user` stays the caller's.
    gossip_error_free(error);
}

static void a_wrong_form_is_named(const char *dir)
{
    gossip_error *error = NULL;
    gossip_msp *msp = NULL;
    char path[1200], cert[8192];
    peer_path(path, dir, 1, 0, "msp/signcerts/peer0.org1.example.com-cert.pem");
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    cert[fread(cert, 1, sizeof cert - 1, file)] = 0;
    fclose(file);
    snprintf(path, sizeof path, "%.900s/peerOrganizations/org1.example.com/msp", dir);
    check(gossip_msp_load(path, "Org1MSP", &msp, &error), &error);
    device_refused(msp, cert, device_sign, UNNAMED, GOSSIP_SIGNATURE, "gossip_reply_set_der or gossip_reply_set_raw");
    device_refused(msp, cert, device_sign, DER, GOSSIP_SIGNATURE, "Signature::Raw");
    device_refused(msp, cert, device_sign, RAW, GOSSIP_CONFIG, "does not match the signing certificate");
    device_refused(msp, cert, device_sign, FAILED, GOSSIP_SIGNATURE, "the token is locked");
    gossip_msp_free(msp);
}

int main(int argc, char **argv)
{
    const char *dir = dir_argument(argc, argv);
    a_wrong_form_is_named(dir);
    an_hsm_signs(dir);
    a_slow_device_holds_up_nobody_else(dir);
    a_crypto_callback_stops_its_comm(dir);
    no_msp_at_all(dir);
    a_reply_has_a_limit(dir);
    return EXIT_SUCCESS;
}
