/* OAuth 2.0 in place of the write key's password, with the key in a file that only this user can read.
 *   ./oauth KEY_FILE [ENDPOINT TOKEN_ENDPOINT] */
#include <segment.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: oauth KEY_FILE [ENDPOINT TOKEN_ENDPOINT]\n"), 2;
    char key[8192] = "";                                /* PEM: an RSA key of 4096 bits has 3300 bytes */
    FILE *file = fopen(argv[1], "r");
    if (!file) return perror(argv[1]), 1;
    if (fread(key, 1, sizeof key - 1, file) == 0) return fprintf(stderr, "%s is empty\n", argv[1]), 1;
    fclose(file);

    segment_oauth oauth = SEGMENT_OAUTH_INIT;
    oauth.client_id = "CLIENT_ID";                      /* of the application */
    oauth.key_id = "KEY_ID";                            /* of the key, where its public half was uploaded */
    oauth.private_key = key;
    segment_config config = SEGMENT_CONFIG_INIT;
    config.write_key = "WRITE_KEY";
    config.oauth = &oauth;
    if (argc > 3) config.endpoint = argv[2], oauth.endpoint = argv[3];  /* Segment's own, unless they are given */
    segment_client *client = segment_new(&config);
    memset(key, 0, sizeof key);                         /* all was copied */
    if (!client) return fprintf(stderr, "%s\n", segment_error()), 1;

    segment_track(client, "u-42", "Plan Upgraded", NULL, NULL);     /* fetches a token when it needs one */
    segment_flush(client, 5000);
    char problem[256];
    size_t length = segment_last_problem(client, problem, sizeof problem);
    if (length > 0) fprintf(stderr, "%s\n", problem);   /* no token was given, say */
    segment_free(client);
    return length > 0 ? 1 : 0;
}
