// A host with its own OpenSSL, and with -DHOST_GRPC its own gRPC C core too, and gossip beside them in the same
// process: neither disturbs the other, and the two C cores do not know of each other.
//
// Usage: beside <folder of an organisation that `fabric-gossip crypto` made>

#include "fabric_gossip.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                                                 \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static gossip_error *error;

static void ok(gossip_result result) {
    if (result != GOSSIP_OK) {
        fprintf(stderr, "%s: %s\n", gossip_result_name(result).data, gossip_error_message(error).data);
        exit(1);
    }
}

#ifdef HOST_GRPC
// The functions of its C core that the host uses.
void grpc_init(void);
int grpc_is_initialized(void);
void grpc_shutdown_blocking(void);
const char *grpc_version_string(void);
#endif

static atomic_bool done;

// Signatures with a key of the host's, and the first flight of TLS handshakes in memory, over and over.
static void *host_tls(void *key) {
    unsigned rounds = 0;
    while (!atomic_load(&done) || rounds == 0) {
        unsigned char text[] = "the host's own", signature[256];
        size_t length = sizeof signature;
        EVP_MD_CTX *digest = EVP_MD_CTX_new();
        CHECK(EVP_DigestSignInit(digest, NULL, EVP_sha256(), NULL, key) == 1);
        CHECK(EVP_DigestSign(digest, signature, &length, text, sizeof text) == 1);
        EVP_MD_CTX_free(digest);
        digest = EVP_MD_CTX_new();
        CHECK(EVP_DigestVerifyInit(digest, NULL, EVP_sha256(), NULL, key) == 1);
        CHECK(EVP_DigestVerify(digest, signature, length, text, sizeof text) == 1);
        EVP_MD_CTX_free(digest);

        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        SSL *client = SSL_new(context);
        SSL_set_bio(client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        SSL_set_connect_state(client);
        int result = SSL_do_handshake(client);
        CHECK(SSL_get_error(client, result) == SSL_ERROR_WANT_READ);
        CHECK(BIO_pending(SSL_get_wbio(client)) > 100);
        SSL_free(client);
        SSL_CTX_free(context);
        rounds++;
    }
    return NULL;
}

static gossip_comm *start(const char *org, const char *peer, gossip_crypto **crypto) {
    char msp[1024], cert[1024], key[1024], roots[1024];
    snprintf(msp, sizeof msp, "%s/peers/%s/msp", org, peer);
    snprintf(cert, sizeof cert, "%s/peers/%s/tls/server.crt", org, peer);
    snprintf(key, sizeof key, "%s/peers/%s/tls/server.key", org, peer);
    snprintf(roots, sizeof roots, "%s/peers/%s/tls/ca.crt", org, peer);
    ok(gossip_crypto_load(msp, "Org1MSP", crypto, &error));
    gossip_tls_config *tls_config;
    gossip_tls *tls;
    ok(gossip_tls_config_new(&tls_config, &error));
    ok(gossip_tls_config_set_pair_files(tls_config, cert, key, &error));
    ok(gossip_tls_config_add_roots_file(tls_config, roots, &error));
    ok(gossip_tls_new(tls_config, &tls, &error));
    gossip_config *config;
    ok(gossip_config_new(&config, &error));
    ok(gossip_config_set_listen(config, "127.0.0.1:0", &error));
    ok(gossip_config_set_tls(config, tls, &error));
    gossip_comm *comm;
    ok(gossip_comm_start(*crypto, config, &comm, &error));
    gossip_config_free(config);
    gossip_tls_free(tls);
    gossip_tls_config_free(tls_config);
    return comm;
}

static void acknowledge(void *user, const gossip_event *event) {
    (void)user;
    if (event != NULL) {
        gossip_event_ack(event, NULL, NULL);
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    CHECK(key != NULL);
    pthread_t host;
    CHECK(pthread_create(&host, NULL, host_tls, key) == 0);

    gossip_crypto *crypto0, *crypto1;
    gossip_comm *peer0 = start(argv[1], "peer0.org1.example.com", &crypto0);
    gossip_comm *peer1 = start(argv[1], "peer1.org1.example.com", &crypto1);
    gossip_subscription *blocks;
    ok(gossip_comm_accept(peer1, NULL, NULL, NULL, NULL, &blocks, &error));
    ok(gossip_subscription_set_callback(blocks, acknowledge, NULL, NULL, &error));
    gossip_peer to = {.endpoint = gossip_comm_local_addr(peer1).data};

    for (uint64_t block = 0; block < 100; block++) {
#ifdef HOST_GRPC
        // The host's core starts and ends while ours is at work, and ours never starts the host's.
        CHECK(!grpc_is_initialized());
        if (block % 10 == 0) {
            grpc_init();
            CHECK(grpc_is_initialized());
        }
#endif
        gossip_message *message;
        ok(gossip_message_new_data("mychannel", block, (const uint8_t *)"a block", 7, &message, &error));
        ok(gossip_comm_send_with_ack(peer0, message, 30 * GOSSIP_SECOND, 1, &to, 1, NULL, &error));
        gossip_message_free(message);
#ifdef HOST_GRPC
        if (block % 10 == 0) {
            grpc_shutdown_blocking();
        }
#endif
    }

    atomic_store(&done, true);
    CHECK(pthread_join(host, NULL) == 0);
    gossip_subscription_free(blocks);
    gossip_comm_free(peer0);
    gossip_comm_free(peer1);
    gossip_crypto_free(crypto0);
    gossip_crypto_free(crypto1);
    // The host's OpenSSL is as it was.
    CHECK(EVP_PKEY_get_bits(key) == 256);
    EVP_PKEY_free(key);
#ifdef HOST_GRPC
    printf("100 blocks acknowledged beside the host's OpenSSL and its gRPC %s\n", grpc_version_string());
#else
    printf("100 blocks acknowledged beside the host's OpenSSL\n");
#endif
    return 0;
}
