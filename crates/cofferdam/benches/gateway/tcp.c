// What `gateway.rs` measures plain TCP with: a server, a relay by splice(2) to compare with, and load.
//
//   tcp sink                                   serves on loopback; prints its port
//   tcp relay PORT                             passes on to 127.0.0.1:PORT; prints its port
//   tcp send HOST PORT CONNECTIONS MS [TO]     sends for so long; prints bytes and nanoseconds
//   tcp echo HOST PORT CONNECTIONS MS [TO]     a byte there and back; prints count, nanoseconds, p50 and p99 of them
//   tcp turn HOST PORT COUNT                   connections in turn, each with a byte there and back; prints as echo
//
// With TO (host:port), HOST and PORT are a proxy's, which is asked to CONNECT there.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 128 * 1024, PIPE = 1 << 20, MOST = 4 << 20 };

static void die(const char *what) { fprintf(stderr, "tcp: %s: %s\n", what, strerror(errno)); exit(1); }
static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static void nodelay(int s) { int one = 1; setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); }

static void thread(void *(*run)(void *), void *of, pthread_t *handle) {
  pthread_t own; pthread_attr_t small; pthread_attr_init(&small); pthread_attr_setstacksize(&small, 256 * 1024);
  if ((errno = pthread_create(handle ? handle : &own, &small, run, of))) die("pthread_create");
  if (!handle) pthread_detach(own);
}

static int listener(void) {
  int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}; socklen_t l = sizeof a;
  if (s < 0 || bind(s, (void *)&a, l) || listen(s, 4096) || getsockname(s, (void *)&a, &l)) die("listen");
  printf("%d\n", ntohs(a.sin_port)); fflush(stdout); return s;
}

static void serve(void *(*run)(void *)) {
  for (int l = listener();;) {
    int c = accept4(l, 0, 0, SOCK_CLOEXEC);
    if (c >= 0) { nodelay(c); thread(run, (void *)(intptr_t)c, 0); } else if (errno != EINTR && errno != ECONNABORTED) die("accept");
  }
}

// First byte 'T': takes everything up to an 'e', and answers a byte then (tinyproxy ends both halves of a connection at
// once, so its end says nothing). 'E': sends back what comes.
static void *sink(void *of) {
  int c = (intptr_t)of; char *b = malloc(PIECE), kind = 0; ssize_t n;
  if (read(c, &kind, 1) == 1)
    while ((n = read(c, b, PIECE)) > 0) {
      if (kind == 'T' && b[n - 1] == 'e') { n = 1; kind = 'E'; }
      if (kind == 'E' && write(c, b, n) != n) break;
    }
  close(c); free(b); return 0;
}

static int target;
static int dial(const char *host, const char *port) {
  struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *list; int e = getaddrinfo(host, port, &want, &list), s = -1;
  if (e) { fprintf(stderr, "tcp: %s: %s\n", host, gai_strerror(e)); exit(1); }
  for (struct addrinfo *a = list; a && s < 0; a = a->ai_next) {
    s = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s >= 0 && connect(s, a->ai_addr, a->ai_addrlen)) { int why = errno; close(s); s = -1; errno = why; }
  }
  freeaddrinfo(list); if (s < 0) die("connect"); nodelay(s); return s;
}

static void pump(int in, int out) {
  int p[2]; if (pipe2(p, O_CLOEXEC)) die("pipe"); fcntl(p[1], F_SETPIPE_SZ, PIPE);
  for (ssize_t n; (n = splice(in, 0, p[1], 0, PIPE, SPLICE_F_MOVE)) > 0;)
    while (n > 0) { ssize_t w = splice(p[0], 0, out, 0, n, SPLICE_F_MOVE); if (w <= 0) goto over; n -= w; }
over: close(p[0]); close(p[1]); shutdown(out, SHUT_WR);
}
static void *back(void *of) { int *ends = of; pump(ends[1], ends[0]); return 0; }
static void *relay(void *of) {
  char port[8]; snprintf(port, sizeof port, "%d", target);
  int ends[2] = {(intptr_t)of, dial("127.0.0.1", port)}; pthread_t t;
  thread(back, ends, &t); pump(ends[0], ends[1]); pthread_join(t, 0); close(ends[0]); close(ends[1]); return 0;
}

static const char *host, *port, *to; static uint64_t until;
static uint32_t *times; static _Atomic long taken; static _Atomic uint64_t sent;

static int begin(char kind) {
  int s = dial(host, port);
  if (to) {
    char b[512]; int n = snprintf(b, sizeof b, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", to, to), got = 0;
    if (write(s, b, n) != n) die("CONNECT");
    // A byte at a time: what follows the head is the server's.
    for (got = 0; got < (int)sizeof b - 1 && read(s, b + got, 1) == 1; got++) if (got >= 3 && !memcmp(b + got - 3, "\r\n\r\n", 4)) break;
    if (strncmp(b, "HTTP/1.", 7) || strncmp(b + 8, " 200", 4)) { errno = EPROTO; die("CONNECT"); }
  }
  if (write(s, &kind, 1) != 1) die("write");
  return s;
}

static pthread_barrier_t ready;
static void *sender(void *of) {
  (void)of; char *b = malloc(PIECE), k; memset(b, 'x', PIECE); int s = begin('T'); uint64_t mine = 0;
  pthread_barrier_wait(&ready); // all are connected
  pthread_barrier_wait(&ready); // the clock runs
  while (now() < until) { ssize_t n = write(s, b, PIECE); if (n <= 0) die("write"); mine += n; }
  if (write(s, "e", 1) != 1 || read(s, &k, 1) != 1) die("the answer"); close(s); sent += mine; free(b); return 0;
}

static void note(uint64_t since) { long at = taken++; if (at < MOST) times[at] = now() - since; }
static void ping(int s) { char k = 'p'; if (write(s, &k, 1) != 1 || read(s, &k, 1) != 1) die("echo"); }
static void *echo(void *of) {
  (void)of; int s = begin('E');
  pthread_barrier_wait(&ready); pthread_barrier_wait(&ready);
  while (now() < until) { uint64_t a = now(); ping(s); note(a); }
  close(s); return 0;
}

static int order(const void *a, const void *b) { uint32_t x = *(uint32_t *)a, y = *(uint32_t *)b; return (x > y) - (x < y); }
static void report(uint64_t took) {
  long n = taken < MOST ? taken : MOST; if (!n) { errno = ENODATA; die("nothing came back"); }
  qsort(times, n, sizeof *times, order);
  printf("%ld %llu %u %u\n", (long)taken, (unsigned long long)took, times[(n - 1) / 2], times[(n - 1) * 99 / 100]);
}

int main(int count, char **words) {
  signal(SIGPIPE, SIG_IGN); struct rlimit files; getrlimit(RLIMIT_NOFILE, &files); files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files);
  const char *what = count > 1 ? words[1] : "";
  if (!strcmp(what, "sink")) serve(sink);
  if (!strcmp(what, "relay") && count == 3) { target = atoi(words[2]); serve(relay); }
  if (count < 5) { fprintf(stderr, "see the head of tcp.c\n"); return 2; }
  host = words[2]; port = words[3]; int many = atoi(words[4]); times = calloc(MOST, sizeof *times);
  if (!strcmp(what, "turn")) {
    uint64_t first = now();
    for (int i = 0; i < many; i++) { uint64_t a = now(); int s = begin('E'); ping(s); note(a); close(s); }
    report(now() - first); return 0;
  }
  if (count < 6) { fprintf(stderr, "see the head of tcp.c\n"); return 2; }
  to = count > 6 ? words[6] : 0; int sends = !strcmp(what, "send");
  pthread_t *all = calloc(many, sizeof *all); pthread_barrier_init(&ready, 0, many + 1);
  for (int i = 0; i < many; i++) thread(sends ? sender : echo, 0, &all[i]);
  pthread_barrier_wait(&ready); uint64_t start = now(); until = start + atoll(words[5]) * 1000000ull; pthread_barrier_wait(&ready);
  for (int i = 0; i < many; i++) pthread_join(all[i], 0);
  uint64_t took = now() - start;
  if (sends) printf("%llu %llu\n", (unsigned long long)sent, (unsigned long long)took); else report(took);
  return 0;
}
