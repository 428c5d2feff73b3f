// Shared code of the examples: giving up on an error, and a peer's identity and settings from the folders that
// `fabric-gossip crypto DIR` makes (or cryptogen: the layout is the same).
#ifndef COMMON_H
#define COMMON_H

#include <fabric_gossip.h>
#include <stdio.h>
#include <stdlib.h>

#define PATIENCE (30 * GOSSIP_SECOND)

// An example gives up; a program that goes on frees the error and handles the code.
static inline void check(gossip_result result, gossip_error **error)
{
    if (result == GOSSIP_OK)
        return;
    fprintf(stderr, "%s: %s\n", gossip_result_name(result).data, gossip_error_message(*error).data);
    gossip_error_free(*error);
    exit(EXIT_FAILURE);
}

// The path of a file or folder of a peer: `what` under `DIR/peerOrganizations/org1.example.com/peers/peer0...`.
static inline const char *peer_path(char path[1024], const char *dir, int org, int peer, const char *what)
{
    int length = snprintf(path, 1024, "%s/peerOrganizations/org%d.example.com/peers/peer%d.org%d.example.com/%s", dir,
                          org, peer, org, what);
    if (length < 0 || length >= 1024) {
        fprintf(stderr, "the path of %s is too long\n", dir);
        exit(EXIT_FAILURE);
    }
    return path;
}

// Loads our identity: the certificate and key in the peer's MSP folder, which also defines the members of our
// organisation.
static inline gossip_crypto *load_crypto(const char *dir, int org, int peer)
{
    gossip_error *error = NULL;
    gossip_crypto *crypto = NULL;
    char path[1024], mspid[32];
    snprintf(mspid, sizeof mspid, "Org%dMSP", org);
    check(gossip_crypto_load(peer_path(path, dir, org, peer, "msp"), mspid, &crypto, &error), &error);
    return crypto;
}

// Believes the members of another organisation too.
static inline void trust(gossip_crypto *crypto, const char *dir, int org)
{
    gossip_error *error = NULL;
    gossip_msp *msp = NULL;
    char path[1024], mspid[32];
    snprintf(path, sizeof path, "%.900s/peerOrganizations/org%d.example.com/msp", dir, org);
    snprintf(mspid, sizeof mspid, "Org%dMSP", org);
    check(gossip_msp_load(path, mspid, &msp, &error), &error);
    check(gossip_crypto_trust(crypto, msp, &error), &error);
    gossip_msp_free(msp);
}

// Listens on a free port of the loopback interface, with mutual TLS, and dials servers of `roots_of_org`.
static inline gossip_config *load_config(const char *dir, int org, int peer, int roots_of_org)
{
    gossip_error *error = NULL;
    gossip_tls_config *files = NULL;
    gossip_tls *tls = NULL;
    gossip_config *config = NULL;
    char cert[1024], key[1024], roots[1024];
    peer_path(cert, dir, org, peer, "tls/server.crt");
    peer_path(key, dir, org, peer, "tls/server.key");
    peer_path(roots, dir, roots_of_org, 0, "tls/ca.crt");

    check(gossip_tls_config_new(&files, &error), &error);
    check(gossip_tls_config_set_pair_files(files, cert, key, &error), &error);
    check(gossip_tls_config_add_roots_file(files, roots, &error), &error);
    check(gossip_tls_new(files, &tls, &error), &error);
    check(gossip_config_new(&config, &error), &error);
    check(gossip_config_set_listen(config, "127.0.0.1:0", &error), &error);
    check(gossip_config_set_tls(config, tls, &error), &error);
    // More patience than Fabric's three and two seconds, for machines under load.
    check(gossip_config_set(config, "comm.dial_timeout", 20 * GOSSIP_SECOND, &error), &error);
    check(gossip_config_set(config, "comm.conn_timeout", 20 * GOSSIP_SECOND, &error), &error);

    // Objects that depend on it keep what they need.
    gossip_tls_free(tls);
    gossip_tls_config_free(files);
    return config;
}

static inline const char *dir_argument(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIR\nDIR is what `fabric-gossip crypto --orgs 2 --peers 3 DIR` made.\n", argv[0]);
        exit(EXIT_FAILURE);
    }
    return argv[1];
}

#endif
