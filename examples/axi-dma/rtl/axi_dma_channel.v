// One channel of the AXI DMA (PG021): its registers, its interrupts, and the machine that goes from one buffer to the next.
//
//      HALTED --run--> RESTING --LENGTH or TAILDESC--> FETCH -> MOVE -> STATUS --.
//         ^               ^                              ^                       |
//         '- stop, error  '---- at the tail -------------'---- before the tail --'
//
// Bytes are moved by another module: this one gives it a job (an address, a length, and for a sender whether the packet ends
// there) and hears when it is done, what was moved, and what went wrong. `abort` asks the mover to finish what is on the bus
// and to forget the rest.
module axi_dma_channel #(
    parameter RECEIVES = 0
) (
    input  wire        clk,
    input  wire        rst_n,

    // Straps: how the core was built.
    input  wire        scatter_gather,
    input  wire [6:0]  address_bits,
    input  wire [4:0]  length_bits,

    // Registers: offsets from the start of the channel.
    input  wire        write,
    input  wire [5:0]  write_offset,
    input  wire [31:0] write_data,
    input  wire [5:0]  read_offset,
    output reg  [31:0] read_data,
    output wire        halted,
    // The core is being reset.
    input  wire        resetting,
    output wire        reset_wanted,
    output wire        interrupt,

    // The job for the mover.
    output reg         job_start,
    output wire        job_active,
    output reg  [63:0] job_address,
    output reg  [25:0] job_length,
    output wire        job_ends_packet,
    output wire        abort,
    input  wire        mover_busy,
    input  wire        job_done,
    input  wire [25:0] job_moved,
    // 0: all went well, 1: the packet is longer than the buffer, 2: SLVERR, 3: DECERR
    input  wire [1:0]  job_error,
    // Of a receiver: the packet ended with this job, and it began with it.
    input  wire        job_ended,
    input  wire        job_began,

    output wire [63:0] m_axi_sg_araddr,
    output wire [7:0]  m_axi_sg_arlen,
    output wire [2:0]  m_axi_sg_arsize,
    output wire [1:0]  m_axi_sg_arburst,
    output wire        m_axi_sg_arvalid,
    input  wire        m_axi_sg_arready,
    input  wire [63:0] m_axi_sg_rdata,
    input  wire [1:0]  m_axi_sg_rresp,
    input  wire        m_axi_sg_rlast,
    input  wire        m_axi_sg_rvalid,
    output wire        m_axi_sg_rready,
    output wire [63:0] m_axi_sg_awaddr,
    output wire [7:0]  m_axi_sg_awlen,
    output wire [2:0]  m_axi_sg_awsize,
    output wire [1:0]  m_axi_sg_awburst,
    output wire        m_axi_sg_awvalid,
    input  wire        m_axi_sg_awready,
    output wire [63:0] m_axi_sg_wdata,
    output wire [7:0]  m_axi_sg_wstrb,
    output wire        m_axi_sg_wlast,
    output wire        m_axi_sg_wvalid,
    input  wire        m_axi_sg_wready,
    input  wire [1:0]  m_axi_sg_bresp,
    input  wire        m_axi_sg_bvalid,
    output wire        m_axi_sg_bready
);

  localparam [5:0] CONTROL = 6'h00, STATUS = 6'h04, CURRENT = 6'h08, CURRENT_HIGH = 6'h0c, TAIL = 6'h10, TAIL_HIGH = 6'h14;
  localparam [5:0] ADDRESS = 6'h18, ADDRESS_HIGH = 6'h1c, LENGTH = 6'h28;
  // Error bits of DMASR.
  localparam [10:4] INTERNAL = 7'b0000001, SLAVE = 7'b0000010, DECODE = 7'b0000100;
  localparam [10:4] SG_INTERNAL = 7'b0010000, SG_SLAVE = 7'b0100000, SG_DECODE = 7'b1000000;

  localparam [3:0] HALTED = 4'd0, RESTING = 4'd1, FETCH = 4'd2, FETCHING = 4'd3, CHECK = 4'd4, MOVE = 4'd5, MOVING = 4'd6;
  localparam [3:0] STATUS_OUT = 4'd7, STATUS_ANSWER = 4'd8, STOPPING = 4'd9;

  reg  [3:0]  state;
  reg         run;
  reg  [14:12] enabled, pending;
  reg  [7:0]  threshold, left, delay;
  reg  [10:4] errors;
  reg  [63:0] current, tail, address;
  reg  [25:0] length;

  assign halted = state == HALTED;
  wire        idle = state == RESTING;
  wire        wide = address_bits > 7'd32;
  wire [63:0] address_mask = address_bits[6] ? {64{1'b1}} : (64'd1 << address_bits) - 64'd1;
  wire [25:0] length_mask = (26'd1 << length_bits) - 26'd1;
  wire [31:0] high_mask = wide ? 32'hffffffff : 32'd0;

  assign interrupt = (pending & enabled) != 3'd0;
  assign reset_wanted = write && write_offset == CONTROL && write_data[2];

  always @* begin
    case (read_offset)
      CONTROL: read_data = {delay, threshold, 1'b0, enabled, 9'd0, resetting, 1'b1, run};
      STATUS: read_data = {8'd0, left, 1'b0, pending, 1'b0, errors, scatter_gather, 1'b0, idle, halted};
      CURRENT: read_data = current[31:0];
      CURRENT_HIGH: read_data = current[63:32];
      TAIL: read_data = tail[31:0];
      TAIL_HIGH: read_data = tail[63:32];
      ADDRESS: read_data = address[31:0];
      ADDRESS_HIGH: read_data = address[63:32];
      LENGTH: read_data = {6'd0, length};
      default: read_data = 32'd0;
    endcase
  end

  // ------------------------------------------------------------------------------------------- descriptors
  // Where the next descriptor is, and the one that is worked on.
  reg  [63:0] next, descriptor;
  reg         ends_packet;
  reg  [1:0]  word;
  reg  [1:0]  fetch_response;
  reg         complete;
  reg         address_given;
  reg  [31:0] status_word;
  reg         status_sent, status_data_sent;
  // The error that halts the channel once the descriptor's status is written.
  reg  [10:4] failing;

  assign m_axi_sg_araddr = next;
  assign m_axi_sg_arlen = 8'd3;
  assign m_axi_sg_arsize = 3'd3;
  assign m_axi_sg_arburst = 2'b01;
  assign m_axi_sg_arvalid = state == FETCH;
  assign m_axi_sg_rready = state == FETCHING;

  assign m_axi_sg_awaddr = descriptor + 64'h1c;
  assign m_axi_sg_awlen = 8'd0;
  assign m_axi_sg_awsize = 3'd2;
  assign m_axi_sg_awburst = 2'b01;
  assign m_axi_sg_awvalid = state == STATUS_OUT && !status_sent;
  assign m_axi_sg_wdata = {status_word, 32'd0};
  assign m_axi_sg_wstrb = 8'hf0;
  assign m_axi_sg_wlast = 1'b1;
  assign m_axi_sg_wvalid = state == STATUS_OUT && !status_data_sent;
  assign m_axi_sg_bready = state == STATUS_ANSWER;

  assign job_active = state == MOVE || state == MOVING;
  assign job_ends_packet = !scatter_gather || ends_packet;
  // What is on the bus is finished; nothing new is begun.
  assign abort = resetting || !run;

  // ------------------------------------------------------------------------------------------- interrupts
  // A packet has ended; an interrupt is due every `threshold` of them, or when none came for `delay` times 125 clocks.
  reg         packet;
  reg         waiting;
  reg  [6:0]  prescale;
  reg  [7:0]  waited;

  wire        new_threshold = write && write_offset == CONTROL && !write_data[2] && wanted_threshold != threshold;
  wire [7:0]  wanted_threshold = write_data[23:16] == 8'd0 ? 8'd1 : write_data[23:16];

  always @(posedge clk) begin
    packet <= 1'b0;
    job_start <= 1'b0;
    if (!rst_n) begin
      state <= HALTED;
      run <= 1'b0;
      enabled <= 3'd0;
      pending <= 3'd0;
      threshold <= 8'd1;
      left <= 8'd1;
      delay <= 8'd0;
      errors <= 7'd0;
      current <= 64'd0;
      tail <= 64'd0;
      address <= 64'd0;
      length <= 26'd0;
      waiting <= 1'b0;
      prescale <= 7'd0;
      waited <= 8'd0;
      failing <= 7'd0;
      address_given <= 1'b0;
    end else begin
      // ---- interrupts
      if (packet) begin
        waiting <= 1'b0;
        if (left == 8'd1) begin
          left <= threshold;
          pending[12] <= 1'b1;
        end else begin
          left <= left - 8'd1;
          waiting <= delay != 8'd0;
          waited <= 8'd0;
          prescale <= 7'd0;
        end
      end else if (waiting) begin
        prescale <= prescale == 7'd124 ? 7'd0 : prescale + 7'd1;
        if (prescale == 7'd124) begin
          waited <= waited + 8'd1;
          if (waited + 8'd1 == delay) begin
            waiting <= 1'b0;
            left <= threshold;
            pending[13] <= 1'b1;
          end
        end
      end

      // ---- the machine
      case (state)
        HALTED: ;
        RESTING: if (abort) state <= STOPPING;
        FETCH: begin
          current <= next;
          if (m_axi_sg_arready) begin
            state <= FETCHING;
            word <= 2'd0;
            fetch_response <= 2'd0;
            descriptor <= next;
          end
        end
        FETCHING:
        if (m_axi_sg_rvalid) begin
          if (m_axi_sg_rresp != 2'd0) fetch_response <= m_axi_sg_rresp;
          case (word)
            2'd0: next <= {m_axi_sg_rdata[63:32] & high_mask, m_axi_sg_rdata[31:6], 6'd0} & address_mask;
            2'd1: job_address <= {m_axi_sg_rdata[63:32] & high_mask, m_axi_sg_rdata[31:0]} & address_mask;
            2'd2: ;
            2'd3: begin
              job_length <= m_axi_sg_rdata[25:0] & length_mask;
              ends_packet <= m_axi_sg_rdata[26];
              complete <= m_axi_sg_rdata[63];
            end
          endcase
          word <= word + 2'd1;
          if (m_axi_sg_rlast) state <= CHECK;
        end
        CHECK:
        if (abort) state <= STOPPING;
        else if (fetch_response != 2'd0) fail(fetch_response == 2'd2 ? SG_SLAVE : SG_DECODE);
        else if (complete) fail(SG_INTERNAL);
        else if (job_length == 26'd0) begin
          failing <= INTERNAL;
          status_word <= 32'h90000000;
          writeStatus;
        end else state <= MOVE;
        MOVE: begin
          job_start <= 1'b1;
          state <= MOVING;
        end
        MOVING:
        if (job_done) begin
          if (abort) state <= STOPPING;
          else if (!scatter_gather) begin
            if (job_error != 2'd0) fail(errorOf(job_error));
            else begin
              length <= job_moved;
              pending[12] <= 1'b1;
              state <= RESTING;
            end
          end else begin
            failing <= errorOf(job_error);
            case (job_error)
              2'd0: status_word <= {1'b1, 3'd0, RECEIVES[0] & job_began, RECEIVES[0] & job_ended, job_moved};
              2'd1: status_word <= 32'h90000000;
              2'd2: status_word <= 32'ha0000000;
              2'd3: status_word <= 32'hc0000000;
            endcase
            writeStatus;
          end
        end
        STATUS_OUT: begin
          if (m_axi_sg_awready) status_sent <= 1'b1;
          if (m_axi_sg_wready) status_data_sent <= 1'b1;
          if ((status_sent || m_axi_sg_awready) && (status_data_sent || m_axi_sg_wready)) state <= STATUS_ANSWER;
        end
        STATUS_ANSWER:
        if (m_axi_sg_bvalid) begin
          if (m_axi_sg_bresp != 2'd0) fail((m_axi_sg_bresp == 2'd2 ? SG_SLAVE : SG_DECODE) | failing);
          else if (failing != 7'd0) fail(failing);
          else begin
            packet <= RECEIVES[0] ? status_word[26] : ends_packet;
            state <= abort ? STOPPING : descriptor == tail ? RESTING : FETCH;
          end
        end
        STOPPING: if (!mover_busy) state <= HALTED;
        default: state <= HALTED;
      endcase

      // ---- writes of the driver
      if (write && !resetting && !reset_wanted)
        case (write_offset)
          CONTROL: begin
            run <= write_data[0];
            enabled <= write_data[14:12];
            threshold <= wanted_threshold;
            delay <= write_data[31:24];
            if (new_threshold) left <= wanted_threshold;
            if (write_data[0] && !run) begin
              state <= RESTING;
              next <= current;
            end
          end
          STATUS: pending <= pending & ~write_data[14:12];
          CURRENT: if (scatter_gather && halted) current[31:0] <= {write_data[31:6], 6'd0};
          CURRENT_HIGH: if (scatter_gather && halted && wide) current[63:32] <= write_data;
          TAIL:
          if (scatter_gather) begin
            tail[31:0] <= {write_data[31:6], 6'd0};
            if (!wide && idle && run) state <= FETCH;
          end
          TAIL_HIGH:
          if (scatter_gather && wide) begin
            tail[63:32] <= write_data;
            if (idle && run) state <= FETCH;
          end
          ADDRESS: if (!scatter_gather) address[31:0] <= write_data;
          ADDRESS_HIGH: if (!scatter_gather && wide) address[63:32] <= write_data;
          LENGTH:
          if (!scatter_gather) begin
            length <= write_data[25:0] & length_mask;
            if (idle && run && (write_data[25:0] & length_mask) != 26'd0) begin
              job_address <= address & address_mask;
              job_length <= write_data[25:0] & length_mask;
              state <= MOVE;
            end
          end
          default: ;
        endcase
    end
  end

  function [10:4] errorOf(input [1:0] code);
    case (code)
      2'd0: errorOf = 7'd0;
      2'd1: errorOf = INTERNAL;
      2'd2: errorOf = SLAVE;
      2'd3: errorOf = DECODE;
    endcase
  endfunction

  // PG021, "Errors": the channel halts, and nothing but a reset brings it back.
  task fail(input [10:4] error);
    begin
      errors <= errors | error;
      pending[14] <= 1'b1;
      run <= 1'b0;
      state <= STOPPING;
    end
  endtask

  task writeStatus;
    begin
      status_sent <= 1'b0;
      status_data_sent <= 1'b0;
      state <= STATUS_OUT;
    end
  endtask

endmodule
