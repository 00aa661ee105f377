// POST /api/notify as one would write it with Express 5: a rate limit, JSON, a look at the fields, one XADD.
//
// PORT and REDIS_URL (unix://…) say where. RATE_IN is `redis` (a count that all processes share, as Notify's) or
// `memory` (one process' own, which costs no round trip). See accepting/contenders.py.

import { randomUUID } from 'node:crypto';
import express from 'express';
import { rateLimit } from 'express-rate-limit';
import { Redis } from 'ioredis';
import { RedisStore } from 'rate-limit-redis';

const STREAM = 'accepted';
const TYPE = /^[a-z0-9][a-z0-9._-]*$/;

const { PORT, RATE_IN, REDIS_URL } = process.env;
const redis = new Redis({ path: decodeURIComponent(REDIS_URL.slice('unix://'.length)), enableAutoPipelining: true });

const limit = rateLimit({
  windowMs: 1000,
  limit: 999_999_999,
  standardHeaders: 'draft-8',
  legacyHeaders: false,
  keyGenerator: (request) => request.get('authorization'),
  store: RATE_IN === 'redis' ? new RedisStore({ sendCommand: (...command) => redis.call(...command) }) : undefined,
});

const isText = (value, longest, shortest = 0) =>
  typeof value === 'string' && value.length >= shortest && value.length <= longest;

const isEvent = ({ recipient, type, title, body = '', data = {} }) =>
  isText(recipient, 128, 1) &&
  isText(type, 100, 1) &&
  TYPE.test(type) &&
  isText(title, 200, 1) &&
  isText(body, 4096) &&
  typeof data === 'object';

const entry = (id, event) => [STREAM, '*', 'event', JSON.stringify({ id, ...event })];

const app = express();
app.disable('x-powered-by');
app.disable('etag');
app.use(limit);

app.post('/api/notify', express.json({ limit: '256kb' }), async (request, response) => {
  if (!isEvent(request.body)) {
    return response.status(400).json({ title: 'Bad Request' });
  }
  const id = randomUUID();
  await redis.xadd(...entry(id, request.body));
  response.status(202).json({ id, status: 'queued' });
});

app.post('/api/notify/batch', express.json({ limit: '5mb' }), async (request, response) => {
  const { notifications } = request.body;
  if (!notifications.every(isEvent)) {
    return response.status(400).json({ title: 'Bad Request' });
  }
  const results = notifications.map(() => ({ id: randomUUID(), status: 'queued' }));
  const pipeline = redis.pipeline();
  notifications.forEach((event, at) => pipeline.xadd(...entry(results[at].id, event)));
  for (const [error] of await pipeline.exec()) {
    if (error) throw error;
  }
  response.status(202).json({ accepted: results.length, rejected: 0, results });
});

const server = app.listen(Number(PORT), '127.0.0.1');
process.on('SIGTERM', () => server.close(() => process.exit(0)) && server.closeAllConnections());
