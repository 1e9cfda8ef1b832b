// express-session with connect-redis, set as their documentation shows. The routes are those of `bench-scene`.
import { RedisStore } from 'connect-redis'
import express from 'express'
import session from 'express-session'
import { createClient } from 'redis'

const [, , , port, url] = process.argv
const client = createClient({ url })
await client.connect()

const app = express()
app.use(
  session({
    store: new RedisStore({ client }),
    secret: 'the bench signs with a key that everybody knows, of 64 bytes!!!!',
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 3600 * 1000, sameSite: 'lax' },
  }),
)

const profile = {
  user: 'user-0000000042@example.org',
  roles: ['reader', 'editor', 'billing'],
  cart: [1, 2, 3, 4, 5].map((n) => ({ sku: `SKU-1000${n}`, qty: n, price: 999 + n })),
  views: 0,
}

const page = (res, { user, views }) => res.type('text').send(`${user} ${views}\n`)
const nobody = (res) => res.status(401).type('text').send('nobody\n')

app.get('/anonymous', (req, res) => res.type('text').send('anonymous\n'))
app.get('/read', (req, res) => (req.session.user ? page(res, req.session) : nobody(res)))
app.post('/write', (req, res) => {
  if (!req.session.user) return nobody(res)
  req.session.views += 1
  page(res, req.session)
})
app.post('/login', (req, res, next) =>
  req.session.regenerate((error) => {
    if (error) return next(error)
    Object.assign(req.session, profile)
    res.type('text').send('in\n')
  }),
)
app.post('/logout', (req, res, next) =>
  req.session.destroy((error) => (error ? next(error) : res.type('text').send('out\n'))),
)

app.listen(Number(port), '127.0.0.1')
